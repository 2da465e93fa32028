"""Finds personal data in free text, so that it is refused at entry, with the place; pure.

Texts are public for ever. Numbers are searched after compatibility normalisation (Unicode NFKC),
with digits of every script and Chinese numerals read as digits, and the usual separators skipped.
Standards (GB 19083-2010), quantities, prices and dates pass: a hit needs the shape *and*, where
one exists, the check of the number.

ID numbers    GB 11643 (18, ISO 7064 MOD 11-2, via python-stdnum) and the older 15 digits
phones        mobile numbers, and whatever libphonenumber takes for a valid Chinese number
accounts      16 to 19 digits with the Luhn check of ISO/IEC 7812
announced     six or more digits right after a word such as 电话, 身份证 or 账号
names         the applicant's own
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property, lru_cache

from phonenumbers import Leniency, PhoneNumberMatcher
from stdnum import luhn
from stdnum.exceptions import ValidationError
from stdnum.iso7064 import mod_11_2

from shared.errors import Invalid, Place

ID_NUMBER, PHONE, ACCOUNT, NAME = "an ID number", "a phone number", "a bank account", "a name"


class PersonalDataInText(Invalid):
    """The place is told, the text is not repeated."""

    code = "personal_data_in_text"

    def __init__(self, field: str, kind: str, begin: int, end: int) -> None:
        detail = (
            f"{field} holds what looks like {kind} at characters {begin + 1} to {end};"
            " it is public, so take it out."
        )
        self.loc: list[str | int] = [int(p) if p.isdigit() else p for p in field.split(".")]
        super().__init__(detail, [Place(loc=self.loc, msg=detail, type=self.code)])
        self.field, self.kind, self.begin, self.end = field, kind, begin, end


class PersonalDataInKey(Invalid):
    """A record key outlives an erasure."""

    code = "invalid_content"

    def __init__(self, field: str) -> None:
        detail = "The key holds what looks like an ID number or the applicant's name."
        super().__init__(detail, [Place(loc=[field], msg=detail, type=self.code)])
        self.field = field


@dataclass(frozen=True)
class Finding:
    """What was found; `begin` and `end` are character offsets into the text as it was sent."""

    kind: str
    begin: int
    end: int


def refuse_personal_data(texts: Mapping[str, str | None], own_name: str | None = None) -> None:
    """Raise PersonalDataInText for the first of the texts (field -> text) that holds some.

    own_name  the applicant's full name; None for villages and institutions, whose names are public
    """
    for field, text in texts.items():
        if text and (found := find(text, own_name)):
            raise PersonalDataInText(field, found.kind, found.begin, found.end)


def find(text: str, own_name: str | None = None) -> Finding | None:
    """The first finding by kind: ID number, phone, account, announced number, own name."""
    folded = _Folded(text)
    # Most texts hold no number that is long enough for anything.
    numeric = (_id_numbers, _mobiles, _accounts, _announced, _landlines)
    for search in numeric if folded.is_numeric else ():
        for finding in search(folded):
            return folded.place(*finding)
    if own_name:
        for begin, end in _names(folded, own_name):
            return folded.place(NAME, begin, end)
    return None


def refuse_personal_key(key: str | None, own_name: str | None) -> None:
    """Raise PersonalDataInKey when a record key tells who the applicant is."""
    if key and find_in_key(key, own_name):
        raise PersonalDataInKey("external_key")


def find_in_key(key: str, own_name: str | None = None) -> Finding | None:
    """The own name, or an ID number that stands alone; other numbers are the submitter's right."""
    folded = _Folded(key)
    if own_name:
        for begin, end in _names(folded, own_name):
            return folded.place(NAME, begin, end)
    for kind, begin, end in _id_numbers(folded):
        around = folded.text[max(0, begin - 1) : begin] + folded.text[end : end + 1]
        if not around.isalnum():
            return folded.place(kind, begin, end)
    return None


# ----------------------------------------------------------------- normalising

_CHINESE_DIGITS = dict(zip("〇零一二三四五六七八九", "00123456789", strict=True))


@lru_cache(maxsize=65_536)
def _fold(character: str) -> str:
    """What is compared in the place of a character: none, one or several."""
    plain = ""
    for folded in unicodedata.normalize("NFKC", character).casefold():
        # Invisible characters (zero-width space, soft hyphen …) only serve to hide.
        if unicodedata.category(folded) != "Cf":
            digit = unicodedata.decimal(folded, None)
            plain += str(digit) if digit is not None else _CHINESE_DIGITS.get(folded, folded)
    return plain


class _Folded:
    """A text normalised character by character, each mapped to where it came from."""

    def __init__(self, original: str) -> None:
        characters: list[str] = []
        self._origin: list[int] = []
        for index, character in enumerate(original):
            plain = _fold(character)
            characters.append(plain)
            self._origin += [index] * len(plain)
        self.text = "".join(characters)

    def place(self, kind: str, begin: int, end: int) -> Finding:
        return Finding(kind, self._origin[begin], self._origin[end - 1] + 1)

    @property
    def is_numeric(self) -> bool:
        return sum(map(str.isdigit, self.text)) >= _DIGITS_MIN

    @cached_property
    def closed_up(self) -> tuple[str, list[int]]:
        """The text without gaps within words, and where each character of it stands."""
        at = [i for i, character in enumerate(self.text) if character not in _GAPS]
        return "".join(self.text[i] for i in at), at

    @cached_property
    def runs(self) -> list["_Run"]:
        return [
            _Run(match)
            for match in _DIGIT_RUN.finditer(self.text)
            if match.end() - match.start() >= _RUN_MIN
        ]


# Spaces and dots between the characters of a name hide nothing: 李 小明, 阿卜杜拉·买买提.
_GAPS = frozenset(" \t·•.-")

# The shortest thing that is looked for: an announced number.
_DIGITS_MIN = 6
# The shortest thing that is looked for in runs: a mobile number.
_RUN_MIN = 11

# Digits with at most two separators between neighbours. No slash and no comma: 1860/1870 are two
# things, 1,280,000 is a price.
_DIGIT_RUN = re.compile(r"[0-9](?:[ \t\u3000\-‐-―−._·•]{0,2}[0-9])*(?:[ \-]?[Xx](?![A-Za-z]))?")


class _Run:
    """A run of digits: `digits` without separators, `at` where each of them stands."""

    def __init__(self, match: re.Match[str]) -> None:
        kept = [(c, match.start() + i) for i, c in enumerate(match[0]) if c.isdigit() or c in "Xx"]
        self.digits = "".join(c for c, _ in kept).upper()
        self.at = [position for _, position in kept]
        last = len(kept) - 1
        self._begins = {0, *(i for i in range(1, last + 1) if self.at[i] != self.at[i - 1] + 1)}
        self._ends = {last + 1, *(begin for begin in self._begins if begin)}

    def windows(self, length: int) -> Iterator[tuple[str, int, int, bool]]:
        """Each stretch of `length` digits: (digits, begin, end, whole groups or cut out of one)."""
        for i in range(len(self.digits) - length + 1):
            j = i + length
            whole = i in self._begins and j in self._ends
            yield self.digits[i:j], self.at[i], self.at[j - 1] + 1, whole


# ------------------------------------------------------------------- searching

_Found = Iterator[tuple[str, int, int]]


def _id_numbers(folded: _Folded) -> _Found:
    for run in folded.runs:
        for digits, begin, end, whole in run.windows(18):
            # A mistyped ID number still names a person: alone, a plausible birth date is enough.
            if _is_birth_date(digits[6:14]) and (whole or _checks(digits)):
                yield ID_NUMBER, begin, end
        for digits, begin, end, whole in run.windows(15):
            if whole and digits.isdigit() and _is_birth_date("19" + digits[6:12]):
                yield ID_NUMBER, begin, end


def _is_birth_date(digits: str) -> bool:
    try:
        return 1900 <= date(int(digits[:4]), int(digits[4:6]), int(digits[6:])).year <= 2100
    except ValueError:
        return False


def _checks(digits: str) -> bool:
    try:
        return bool(mod_11_2.validate(digits))
    except ValidationError:
        return False


_MOBILE = re.compile(r"(?:00)?(?:86)?1[3-9][0-9]{9}")


def _mobiles(folded: _Folded) -> _Found:
    for run in folded.runs:
        for length in (11, 13, 15):
            for digits, begin, end, whole in run.windows(length):
                if whole and _MOBILE.fullmatch(digits):
                    yield PHONE, begin, end


def _accounts(folded: _Folded) -> _Found:
    for run in folded.runs:
        for length in (16, 17, 18, 19):
            for digits, begin, end, whole in run.windows(length):
                if whole and digits.isdigit() and digits.strip("0") and luhn.is_valid(digits):
                    yield ACCOUNT, begin, end


_ANNOUNCED = re.compile(
    r"(?P<phone>电话|手机号|座机|热线|联系方式|微信|\bqq\b|\btel\b|\bphone\b|\bmobile\b|\bwechat\b)"
    r"|(?P<account>账号|帐号|账户|帐户|卡号|\baccount\b)"
    r"|(?P<id>身份证|证件号|\bid (?:number|card|no))",
    re.IGNORECASE,
)
# A number of things or of money is not a number to call: 账户资金 500000 元.
_SAID = re.compile(
    r"[^0-9。;；\n]{0,8}?([0-9](?:[ \-]?[0-9]){5,}+[Xx]?)(?!\s*[元万亿部台个件人户名套])"
)
_KINDS = {"phone": PHONE, "account": ACCOUNT, "id": ID_NUMBER}


def _announced(folded: _Folded) -> _Found:
    for word in _ANNOUNCED.finditer(folded.text):
        if said := _SAID.match(folded.text, word.end()):
            yield _KINDS[str(word.lastgroup)], said.start(1), said.end(1)


# Shorter ones are local numbers, that nobody can tell from a quantity or a standard's number.
_NATIONAL_DIGITS_MIN = 9


# libphonenumber takes a millisecond a text: asked only where a number could be.
_NUMBER_LIKE = re.compile(r"(?:[0-9][ ()+.\-‐-―−\u3000]{0,4}){9}|0[0-9]{2,3} ?/ ?[0-9]{7}")


def _landlines(folded: _Folded) -> _Found:
    if not _NUMBER_LIKE.search(folded.text):
        return
    for match in PhoneNumberMatcher(folded.text, "CN", leniency=Leniency.VALID):
        plain = match.raw_string.lstrip("(")
        digits = sum(c.isdigit() for c in plain)
        # Ten digits that begin like an area code are a sum of money as often as a number: without
        # a leading 0, 4 or 8 (toll-free) or a separator they pass.
        marked = plain[0] in "+048" or not plain.isdigit()
        round_number = plain.isdigit() and plain.endswith("00000")
        if digits >= _NATIONAL_DIGITS_MIN and marked and not round_number:
            yield PHONE, match.start, match.end


def _names(folded: _Folded, own_name: str) -> Iterator[tuple[int, int]]:
    # Read as the text was: Chinese numerals occur in names, and were read as digits there.
    name = "".join(_fold(c) for c in own_name if c.isalnum())
    if len(name) < 2:  # a surname alone names half a village
        return
    text, at = folded.closed_up
    # Searched for, not compiled: a name must not stay behind in a cache of patterns.
    begin = text.find(name)
    while begin >= 0:
        first, last = at[begin], at[begin + len(name) - 1]
        if not (name.isascii() and _is_inside_word(folded.text, first, last)):
            yield first, last + 1
        begin = text.find(name, begin + 1)


def _is_inside_word(text: str, first: int, last: int) -> bool:
    return text[max(0, first - 1) : first].isalpha() or text[last + 1 : last + 2].isalpha()
