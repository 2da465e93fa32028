"""Developer's tool: writes divisions.tsv from the lists of the National Bureau of Statistics.

    python -m shared.vocabulary.make_divisions FOLDER

FOLDER holds provinces.csv, cities.csv, areas.csv, streets-*.csv and villages-*.csv (code, name).
Needs pypinyin, a development dependency; the result is committed, so nothing else needs it.
English names are pinyin and a generic ("Chaling County"), with the usual names of places that are
not pinyin of their Chinese name, down to the prefecture; Hong Kong, Macao and Taiwan are added.
"""

import csv
import re
import sys
from pathlib import Path

from pypinyin import Style, lazy_pinyin, load_phrases_dict

EXAMPLE_COUNTIES = ("430224", "430225")

# Readings of places that the phrase lists of pypinyin get wrong.
READINGS = {
    "蚌埠": "beng bu", "亳州": "bo zhou", "六安": "lu an", "台州": "tai zhou", "丽水": "li shui",
    "茶陵": "cha ling", "单县": "shan xian", "浚县": "xun xian", "蔚县": "yu xian",
    "尉犁": "yu li", "尉氏": "wei shi", "歙县": "she xian", "黟县": "yi xian", "莘县": "shen xian",
    "荥阳": "xing yang", "荥经": "ying jing", "涡阳": "guo yang", "枞阳": "zong yang",
    "盱眙": "xu yi", "乐亭": "lao ting", "乐清": "yue qing", "大埔": "da bu", "大城": "dai cheng",
    "番禺": "pan yu", "繁峙": "fan shi", "洪洞": "hong tong", "铅山": "yan shan",
    "犍为": "qian wei", "筠连": "jun lian", "隰县": "xi xian", "都匀": "du yun",
    "六合": "lu he", "任丘": "ren qiu", "曲阳": "qu yang", "柏乡": "bai xiang",
    "长子": "zhang zi", "长垣": "chang yuan", "长治": "chang zhi", "长沙": "chang sha",
    "宿州": "su zhou", "宿迁": "su qian", "宿城": "su cheng", "宿豫": "su yu", "宿松": "su song",
    "阿坝": "a ba", "东阿": "dong e", "阿城": "a cheng", "郫都": "pi du", "会东": "hui dong",
    "会泽": "hui ze", "会昌": "hui chang", "会同": "hui tong", "会理": "hui li",
    "会宁": "hui ning", "重庆": "chong qing", "厦门": "xia men", "夏河": "xia he",
    "那曲": "na qu", "曲水": "qu shui", "曲松": "qu song", "曲周": "qu zhou", "曲靖": "qu jing",
    "曲阜": "qu fu", "曲沃": "qu wo", "石柱": "shi zhu", "天台": "tian tai", "三台": "san tai",
    "台前": "tai qian", "丰都": "feng du", "宁都": "ning du", "于都": "yu du", "成都": "cheng du",
    "都江堰": "du jiang yan", "都昌": "du chang", "兴都": "xing du", "朝阳": "chao yang",
    "牟平": "mu ping", "中牟": "zhong mu", "洞口": "dong kou", "朔州": "shuo zhou",
    "扎兰屯": "zha lan tun", "枣强": "zao qiang", "卡若": "ka ruo", "贾汪": "jia wang",
    "汤阴": "tang yin", "藁城": "gao cheng", "红原": "hong yuan", "什邡": "shi fang",
    "扶绥": "fu sui", "行唐": "xing tang", "解放": "jie fang", "通什": "tong shi",
    "色达": "se da", "秘县": "mi xian", "华县": "hua xian", "华容": "hua rong",
    "华阴": "hua yin", "华亭": "hua ting", "覃塘": "qin tang", "句容": "ju rong",
    "儋州": "dan zhou", "澄迈": "cheng mai", "临朐": "lin qu", "芮城": "rui cheng",
    "嵊州": "sheng zhou", "嵊泗": "sheng si", "鄞州": "yin zhou", "圳": "zhen",
    "乐陵": "lao ling", "乐平": "le ping", "乐安": "le an", "乐山": "le shan", "乐都": "le du",
    "西畴": "xi chou", "凤台": "feng tai", "烟台": "yan tai", "邢台": "xing tai",
    "丰台": "feng tai", "龙陵": "long ling", "莎车": "sha che", "车里": "che li",
    "库车": "ku che", "龟兹": "qiu ci", "叶县": "ye xian", "叶城": "ye cheng",
    "柏林": "bai lin", "参": "shen", "麻": "ma", "令": "ling", "茌平": "chi ping", "漯河": "luo he",
    "适": "shi", "巴里坤": "ba li kun", "勐": "meng", "洣江": "mi jiang", "沔渡": "mian du",
    "舲舫": "ling fang", "思聪": "si cong", "腰潞": "yao lu", "腰陂": "yao bei",
}  # fmt: skip

# Readings of single characters in names of places, where pypinyin prefers another one.
CHARACTERS = {"长": "chang", "都": "du", "圩": "xu", "什": "shi"}

# Usual English names where they are not the pinyin; whole Chinese name -> whole English name.
EXCEPTIONS = {
    "陕西省": "Shaanxi Province", "内蒙古自治区": "Inner Mongolia Autonomous Region",
    "广西壮族自治区": "Guangxi Zhuang Autonomous Region",
    "西藏自治区": "Tibet Autonomous Region", "宁夏回族自治区": "Ningxia Hui Autonomous Region",
    "新疆维吾尔自治区": "Xinjiang Uygur Autonomous Region",
    "呼和浩特市": "Hohhot City", "包头市": "Baotou City", "鄂尔多斯市": "Ordos City",
    "呼伦贝尔市": "Hulunbuir City", "巴彦淖尔市": "Bayannur City", "乌兰察布市": "Ulanqab City",
    "兴安盟": "Hinggan League", "锡林郭勒盟": "Xilingol League", "阿拉善盟": "Alxa League",
    "哈尔滨市": "Harbin City", "齐齐哈尔市": "Qiqihar City", "佳木斯市": "Jiamusi City",
    "延边朝鲜族自治州": "Yanbian Korean Autonomous Prefecture",
    "大兴安岭地区": "Da Hinggan Ling Prefecture",
    "拉萨市": "Lhasa City", "日喀则市": "Shigatse City", "昌都市": "Qamdo City",
    "林芝市": "Nyingchi City", "山南市": "Shannan City", "那曲市": "Nagqu City",
    "阿里地区": "Ngari Prefecture",
    "乌鲁木齐市": "Ürümqi City", "克拉玛依市": "Karamay City", "吐鲁番市": "Turpan City",
    "哈密市": "Hami City", "昌吉回族自治州": "Changji Hui Autonomous Prefecture",
    "博尔塔拉蒙古自治州": "Bortala Mongol Autonomous Prefecture",
    "巴音郭楞蒙古自治州": "Bayingolin Mongol Autonomous Prefecture",
    "阿克苏地区": "Aksu Prefecture",
    "克孜勒苏柯尔克孜自治州": "Kizilsu Kirgiz Autonomous Prefecture",
    "喀什地区": "Kashgar Prefecture", "和田地区": "Hotan Prefecture",
    "伊犁哈萨克自治州": "Ili Kazakh Autonomous Prefecture", "塔城地区": "Tacheng Prefecture",
    "阿勒泰地区": "Altay Prefecture", "喀什市": "Kashgar City", "和田市": "Hotan City",
    "和田县": "Hotan County", "阿克苏市": "Aksu City", "阿勒泰市": "Altay City",
    "鄂伦春自治旗": "Oroqen Autonomous Banner", "鄂温克族自治旗": "Evenki Autonomous Banner",
    "东乡族自治县": "Dongxiang Autonomous County",
    "莫力达瓦达斡尔族自治旗": "Morin Dawa Daur Autonomous Banner",
    "喀喇沁左翼蒙古族自治县": "Harqin Left Wing Mongol Autonomous County",
    "前郭尔罗斯蒙古族自治县": "Qian Gorlos Mongol Autonomous County",
    "杜尔伯特蒙古族自治县": "Dorbod Mongol Autonomous County",
    "阿克塞哈萨克族自治县": "Aksay Kazakh Autonomous County",
    "巴里坤哈萨克自治县": "Barkol Kazakh Autonomous County",
    "木垒哈萨克自治县": "Mori Kazakh Autonomous County",
    "塔什库尔干塔吉克自治县": "Taxkorgan Tajik Autonomous County",
    "察布查尔锡伯自治县": "Qapqal Xibe Autonomous County",
    "和布克赛尔蒙古自治县": "Hoboksar Mongol Autonomous County",
    "果洛藏族自治州": "Golog Tibetan Autonomous Prefecture",
    "吉林中国新加坡食品区": "Jilin China-Singapore Food Zone",
    "城区": "Urban District", "郊区": "Suburban District", "矿区": "Mining District",
    "阿坝藏族羌族自治州": "Ngawa Tibetan and Qiang Autonomous Prefecture",
    "甘孜藏族自治州": "Garzê Tibetan Autonomous Prefecture",
    "迪庆藏族自治州": "Dêqên Tibetan Autonomous Prefecture",
    "德宏傣族景颇族自治州": "Dehong Dai and Jingpo Autonomous Prefecture",
    "西双版纳傣族自治州": "Xishuangbanna Dai Autonomous Prefecture",
    "省直辖县级行政区划": "County-level divisions directly under the province",
    "自治区直辖县级行政区划": "County-level divisions directly under the autonomous region",
    "西沙群岛": "Xisha Islands", "南沙群岛": "Nansha Islands",
    "中沙群岛的岛礁及其海域": "Islands and waters of the Zhongsha Islands",
    "红色农场虚拟生活区": "Hongse Farm Living Area",
    "香港特别行政区": "Hong Kong Special Administrative Region",
    "澳门特别行政区": "Macao Special Administrative Region", "台湾省": "Taiwan Province",
}  # fmt: skip

PEOPLES = {
    "蒙古": "Mongol", "回": "Hui", "藏": "Tibetan", "维吾尔": "Uygur", "苗": "Miao", "彝": "Yi",
    "壮": "Zhuang", "布依": "Bouyei", "朝鲜": "Korean", "满": "Manchu", "侗": "Dong", "瑶": "Yao",
    "白": "Bai", "土家": "Tujia", "哈尼": "Hani", "哈萨克": "Kazakh", "傣": "Dai", "黎": "Li",
    "傈僳": "Lisu", "佤": "Va", "畲": "She", "拉祜": "Lahu", "水": "Sui", "东乡": "Dongxiang",
    "纳西": "Naxi", "景颇": "Jingpo", "柯尔克孜": "Kirgiz", "土": "Tu", "达斡尔": "Daur",
    "仫佬": "Mulao", "羌": "Qiang", "布朗": "Blang", "撒拉": "Salar", "毛南": "Maonan",
    "仡佬": "Gelao", "锡伯": "Xibe", "普米": "Pumi", "塔吉克": "Tajik", "怒": "Nu",
    "鄂温克": "Evenki", "保安": "Bonan", "裕固": "Yugur", "独龙": "Derung", "鄂伦春": "Oroqen",
    "各": "Multi-ethnic",
}  # fmt: skip

# Generic ending -> English; the first that fits is taken, so longer ones come first.
GENERICS = {
    "自治州": "Autonomous Prefecture", "自治县": "Autonomous County", "自治旗": "Autonomous Banner",
    "联合旗": "United Banner", "新区": "New Area", "矿区": "Mining District",
    "林区": "Forestry District", "管理区管委会": "Administrative Area",
    "行政委员会": "Administrative Committee", "管理处": "Administration Office",
    "管理局": "Administration", "农场": "Farm", "林场": "Forest Farm", "茶场": "Tea Farm",
    "居民委员会": "Residents' Community", "社区居委会": "Community", "居委会": "Community",
    "社区": "Community", "村委会": "Village", "地区": "Prefecture", "街道": "Subdistrict",
    "特区": "Special District", "省": "Province", "市": "City", "县": "County",
    "区": "District", "旗": "Banner", "盟": "League", "镇": "Town", "乡": "Township",
    "村": "Village", "新城": "New Town",
}  # fmt: skip


# Zones that are run like counties; their names begin with that of their city.
ZONES = {
    "航空港经济综合实验区": "Airport Economy Zone",
    "高新技术产业开发区": "High-tech Industrial Development Zone",
    "高技术产业开发区": "High-tech Industrial Development Zone",
    "高新技术开发区": "High-tech Development Zone",
    "经济技术开发区": "Economic and Technological Development Zone",
    "城乡一体化示范区": "Urban-Rural Integration Demonstration Zone",
    "现代产业园区": "Modern Industrial Park", "循环化工园区": "Chemical Industry Park",
    "工业园区": "Industrial Park", "经济开发区": "Economic Development Zone",
    "开发区": "Development Zone", "示范区": "Demonstration Zone",
    "管理区": "Administrative Area", "新区": "New Area", "新城": "New Town",
}  # fmt: skip


def main(folder: Path) -> None:
    load_phrases_dict(
        {word: [[syllable] for syllable in said.split()] for word, said in READINGS.items()}
    )
    named = {"": ("全国", "China")}
    for code, name in read_codes(folder):
        # A city without counties is listed once more as its own county.
        named.setdefault(re.sub(r"(?<=^\d{4})00$", "", code), (name, english(code, name, named)))
    lines = [f"{code or '0'}\t{zh}\t{en}" for code, (zh, en) in sorted(named.items())]
    target = Path(__file__).with_name("divisions.tsv")
    target.write_text("code\tname_zh\tname_en\n" + "\n".join(lines) + "\n", encoding="utf-8")


def read_codes(folder: Path) -> list[tuple[str, str]]:
    found = [("71", "台湾省"), ("81", "香港特别行政区"), ("82", "澳门特别行政区")]
    for pattern in ("provinces.csv", "cities.csv", "areas.csv", "streets-*.csv", "villages-*.csv"):
        for path in sorted(folder.glob(pattern)):
            with path.open(encoding="utf-8", newline="") as file:
                found += [(row["code"], row["name"]) for row in csv.DictReader(file)]
    return [
        (code, name) for code, name in found if len(code) <= 6 or code.startswith(EXAMPLE_COUNTIES)
    ]


def english(code: str, name: str, named: dict[str, tuple[str, str]]) -> str:
    if name in EXCEPTIONS:
        return EXCEPTIONS[name]
    if name in ("市辖区", "县") and len(code) == 4:
        above = named[code[:2]][1].removesuffix(" Municipality")
        return f"{above} {'Districts' if name == '市辖区' else 'Counties'}"
    if len(code) == 2 and name.endswith("市"):
        return f"{pinyin(name[:-1])} Municipality"
    if len(code) > 6:
        above_zh = named[code[:6]][0]
        if name.startswith(above_zh) and len(name) > len(above_zh) + 2:
            name = name.removeprefix(above_zh)
    if len(code) == 6 and (zone := next((z for z in ZONES if name.endswith(z)), "")):
        city = named.get(code[:4], ("",))[0].removesuffix("市")
        rest = name.removesuffix(zone).removeprefix(city).removeprefix("市")
        if city and name.startswith(city):
            city_en = named[code[:4]][1].removesuffix(" City")
            parts = (city_en, pinyin(rest) if rest else "", ZONES[zone])
            return " ".join(filter(None, parts))
    # 清新区 is the district of Qingxin, not a new area.
    generic = next(
        (g for g in GENERICS
         if name.endswith(g) and len(name) > len(g) + (g in ("新区", "新城"))), ""
    )  # fmt: skip
    stem = name.removesuffix(generic)
    if generic in ("自治州", "自治县", "自治旗") or (generic in ("乡", "村") and stem[-1] == "族"):
        stem, peoples = split_peoples(stem)
        return " ".join(filter(None, (pinyin(stem), peoples, GENERICS[generic])))
    if len(stem) == 1 and generic in ("县", "区", "市", "镇", "乡", "村"):
        # A one-syllable name is said with its generic: 攸县 is You County.
        return f"{pinyin(stem, whole=name)} {GENERICS[generic]}"
    return f"{pinyin(stem)} {GENERICS[generic]}".strip()


def split_peoples(stem: str) -> tuple[str, str]:
    """Return (place, "A, B and C") of a name such as 恩施土家族苗族."""
    found: list[str] = []
    rest = stem
    while True:
        # 蒙古, 哈萨克, 塔吉克 and others are written without 族 in some names.
        people = next(
            (p for p in sorted(PEOPLES, key=len, reverse=True)
             if rest.endswith(p + "族") or (len(p) > 1 and rest.endswith(p))),
            None,
        )  # fmt: skip
        if people is None or len(rest.removesuffix("族").removesuffix(people)) < 1:
            break
        found.insert(0, PEOPLES[people])
        rest = rest.removesuffix("族").removesuffix(people)
    joined = " and ".join(filter(None, (", ".join(found[:-1]), *found[-1:])))
    return rest, joined


def pinyin(stem: str, whole: str = "") -> str:
    """Return one capitalized word, with the apostrophe before an inner vowel (Lu'an)."""
    said = lazy_pinyin(whole or stem, style=Style.NORMAL, v_to_u=True)[
        : len(stem) if whole else None
    ]
    if stem not in READINGS and stem + "县" not in READINGS:
        said = [CHARACTERS.get(char, syllable) for char, syllable in zip(stem, said, strict=True)]
    word = said[0]
    for syllable in said[1:]:
        word += ("'" if syllable[0] in "aeo" else "") + syllable
    return word[:1].upper() + word[1:]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
