"""First-level code lists. A member is its code (a str) and carries its two names."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Self


class Term(StrEnum):
    """A code of the vocabulary with `name_zh` and `name_en`."""

    name_zh: str
    name_en: str

    # The names have defaults only so that looking a member up by its code type-checks.
    def __new__(cls, code: str, name_zh: str = "", name_en: str = "") -> Self:
        term = str.__new__(cls, code)
        term._value_ = code
        term.name_zh = name_zh
        term.name_en = name_en
        return term


class Category(Term):
    AGRICULTURAL_TECHNOLOGY = "agricultural_technology", "农业技术", "Agricultural technology"
    EDUCATION_TRAINING = "education_training", "教育培训", "Education and training"
    ECOLOGICAL_PROTECTION = "ecological_protection", "生态保护", "Ecological protection"
    MEDICAL_CARE = "medical_care", "医疗卫生", "Medical care"
    NATURAL_DISASTER = "natural_disaster", "自然灾害", "Natural disaster"
    PSYCHOLOGICAL_SUPPORT = "psychological_support", "心理支持", "Psychological support"
    HOUSING = "housing", "住房", "Housing"
    LIVING_MATERIALS = "living_materials", "生活物资", "Living materials"
    OTHER = "other", "其他", "Other"


class Cause(Term):
    """Causes of poverty: a household has one main cause and at most two others."""

    ILLNESS = "illness", "因病", "Illness"
    DISABILITY = "disability", "因残", "Disability"
    SCHOOLING = "schooling", "因学", "Schooling"
    DISASTER = "disaster", "因灾", "Disaster"
    LACK_OF_LAND = "lack_of_land", "缺土地", "Lack of land"
    LACK_OF_WATER = "lack_of_water", "缺水", "Lack of water"
    LACK_OF_SKILLS = "lack_of_skills", "缺技术", "Lack of skills"
    LACK_OF_LABOUR = "lack_of_labour", "缺劳力", "Lack of labour"
    LACK_OF_FUNDS = "lack_of_funds", "缺资金", "Lack of funds"
    POOR_TRANSPORT = "poor_transport", "交通条件落后", "Poor transport"
    LOW_MOTIVATION = "low_motivation", "自身发展动力不足", "Low motivation"
    OTHER = "other", "其他", "Other"


class Urgency(Term):
    LIFE_THREATENING = "life_threatening", "危及生命", "Life-threatening"
    URGENT = "urgent", "紧急", "Urgent"
    NORMAL = "normal", "一般", "Normal"


class ApplicantKind(Term):
    HOUSEHOLD = "household", "农户", "Household"
    VILLAGE = "village", "村集体", "Village"
    INSTITUTION = "institution", "机构", "Institution"


class HouseholdClass(Term):
    GENERAL = "general", "一般农户", "General"
    SUBSISTENCE_ALLOWANCE = "subsistence_allowance", "低保户", "Subsistence allowance"
    EXTREME_HARDSHIP = "extreme_hardship", "特困户", "Extreme hardship"


class Deprivation(Term):
    """What a household is deprived of: two assurances, three guarantees, water, and beyond."""

    FOOD = "food", "吃不愁", "Food"
    CLOTHING = "clothing", "穿不愁", "Clothing"
    COMPULSORY_EDUCATION = "compulsory_education", "义务教育", "Compulsory education"
    BASIC_MEDICAL_CARE = "basic_medical_care", "基本医疗", "Basic medical care"
    SAFE_HOUSING = "safe_housing", "住房安全", "Safe housing"
    DRINKING_WATER = "drinking_water", "饮水安全", "Safe drinking water"
    ELECTRICITY = "electricity", "生活用电", "Electricity"
    COOKING_FUEL = "cooking_fuel", "炊事燃料", "Cooking fuel"
    ROAD = "road", "入户路", "Road to the house"
    LABOUR = "labour", "劳动力", "Labour"


class OfferKind(Term):
    GOODS = "goods", "物资", "Goods"
    MONEY = "money", "资金", "Money"
    SERVICE_HOURS = "service_hours", "志愿服务", "Service hours"
    TRAINING_SEATS = "training_seats", "培训名额", "Training seats"
    JOBS = "jobs", "就业岗位", "Jobs"
    PURCHASE_ORDERS = "purchase_orders", "消费帮扶采购", "Purchase orders"


class OrganizationKind(Term):
    FOUNDATION = "foundation", "基金会", "Foundation"
    NGO = "ngo", "社会团体", "Non-governmental organization"
    CHAMBER_OF_COMMERCE = "chamber_of_commerce", "商会", "Chamber of commerce"
    VOLUNTEER_FEDERATION = "volunteer_federation", "志愿者联合会", "Volunteer federation"
    SOCIAL_WORK_CENTRE = "social_work_centre", "社会工作服务中心", "Social-work centre"
    ENTERPRISE = "enterprise", "企业", "Enterprise"
    COOPERATIVE = "cooperative", "合作社", "Cooperative"
    PUBLIC_BODY = "public_body", "事业单位与机关", "Public body"


class NeedState(Term):
    DRAFT = "draft", "草稿", "Draft"
    SUBMITTED = "submitted", "已提交", "Submitted"
    VILLAGE_VERIFIED = "village_verified", "村级已核实", "Verified by the village"
    TOWNSHIP_VERIFIED = "township_verified", "乡级已核实", "Verified by the township"
    COUNTY_VERIFIED = "county_verified", "县级已核实", "Verified by the county"
    CITY_VERIFIED = "city_verified", "市级已核实", "Verified by the city"
    NOTICED = "noticed", "公示中", "On public notice"
    PUBLISHED = "published", "已发布", "Published"
    CLOSED = "closed", "已办结", "Closed"
    RETURNED = "returned", "已退回", "Returned"
    REJECTED = "rejected", "已驳回", "Rejected"
    WITHDRAWN = "withdrawn", "已撤回", "Withdrawn"
    SUSPENDED = "suspended", "已暂停", "Suspended"
    EXPIRED = "expired", "已过期", "Expired"


class Level(Term):
    """Levels of verification, lowest first."""

    VILLAGE = "village", "村级", "Village"
    TOWNSHIP = "township", "乡级", "Township"
    COUNTY = "county", "县级", "County"
    CITY = "city", "市级", "City"


class Role(Term):
    ENTRY_CLERK = "entry_clerk", "录入员", "Entry clerk"
    VILLAGE_OFFICER = "village_officer", "驻村干部", "Village officer"
    VILLAGE_COMMITTEE = "village_committee", "村民委员会", "Village committee"
    TOWNSHIP_OFFICER = "township_officer", "乡级干部", "Township officer"
    COUNTY_OFFICER = "county_officer", "县级干部", "County officer"
    CITY_OFFICER = "city_officer", "市级干部", "City officer"
    ALLIANCE_COORDINATOR = "alliance_coordinator", "联盟协调员", "Alliance coordinator"
    ORGANIZATION = "organization", "社会组织", "Organization"
    SUPERVISOR = "supervisor", "监督员", "Supervisor"
    AUDITOR = "auditor", "第三方审计", "Auditor"
    SERVICE = "service", "系统服务", "Service"


LISTS: Mapping[str, type[Term]] = {
    "categories": Category,
    "causes": Cause,
    "urgencies": Urgency,
    "applicant_kinds": ApplicantKind,
    "household_classes": HouseholdClass,
    "deprivations": Deprivation,
    "offer_kinds": OfferKind,
    "organization_kinds": OrganizationKind,
    "need_states": NeedState,
    "levels": Level,
    "roles": Role,
}
