"""Fairness: whole-number figures, concave groups, and the flow that follows them."""

import itertools
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from services.matching.solver import fairness
from services.matching.solver.fairness import DiversityTerms, FairnessTerms
from services.matching.solver.instance import Instance, laminar
from services.matching.solver.solve import solve

TOWNSHIPS = ("530112001000", "530112002000", "530113001000", "510104001000")
LEVELS = ("province", "city", "county", "township")

terms = st.builds(
    FairnessTerms,
    levels=st.sets(st.sampled_from(LEVELS), min_size=1).map(lambda s: tuple(sorted(s))),
    curve=st.sampled_from(["utilitarian", "proportional", "alpha"]),
    alpha_permille=st.integers(0, 8000),
    strength_permille=st.integers(0, 3000),
    segments=st.integers(1, 30),
    floor_permille=st.integers(0, 1000),
    cap_permille=st.integers(1, 1000),
)


@st.composite
def placed(draw, *, quantity_max=12, tiers=2, size=5):
    """An instance and the division of each need."""
    needs, lines = draw(st.integers(1, size)), draw(st.integers(1, 4))
    pairs = list(itertools.product(range(needs), range(lines)))
    chosen = sorted(draw(st.lists(st.sampled_from(pairs), unique=True, min_size=1)))
    quantities = st.integers(1, quantity_max)

    def drawn(strategy, count):
        return np.array(draw(st.lists(strategy, min_size=count, max_size=count)), dtype=np.int64)

    instance = Instance(
        required=drawn(quantities, needs),
        tier=drawn(st.integers(0, tiers - 1), needs),
        whole=np.zeros(needs, dtype=bool),
        available=drawn(quantities, lines),
        lot=np.ones(lines, dtype=np.int64),
        need=np.array([n for n, _ in chosen], dtype=np.int64),
        line=np.array([m for _, m in chosen], dtype=np.int64),
        value=drawn(st.integers(0, 1000), len(chosen)),
    )
    codes = draw(st.lists(st.sampled_from(TOWNSHIPS), min_size=needs, max_size=needs))
    return instance, codes


def served(instance, quantity):
    return np.bincount(instance.need, quantity, len(instance.required)).astype(np.int64)


def in_groups(level, amounts):
    return np.bincount(level.of_need, amounts, len(level)).astype(np.int64)


# ------------------------------------------------------------------- figures


def test_gini_of_equals_is_nothing_and_of_one_who_has_all_nearly_one():
    assert fairness.gini_ppm([7, 7, 7]) == 0
    assert fairness.gini_ppm([0] * 999 + [5]) == 999_000
    assert fairness.gini_ppm([]) == fairness.gini_ppm([0, 0]) == 0
    with pytest.raises(ValueError):
        fairness.gini_ppm([1, -1])


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=20))
def test_gini_is_the_mean_difference_over_twice_the_mean(values):
    total, count = sum(values), len(values)
    apart = sum(abs(x - y) for x in values for y in values)
    expected = Fraction(apart, 2 * count * total) if total else Fraction(0)
    assert fairness.gini_ppm(values) == int(expected * 1_000_000)
    assert fairness.gini_ppm(values) == fairness.gini_ppm(sorted(values))


@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=10), st.data())
def test_giving_from_the_richer_to_the_poorer_never_raises_gini(values, data):
    values = sorted(values)
    poor = data.draw(st.integers(0, len(values) - 2))
    rich = data.draw(st.integers(poor + 1, len(values) - 1))
    amount = data.draw(st.integers(0, (values[rich] - values[poor]) // 2))
    moved = list(values)
    moved[poor] += amount
    moved[rich] -= amount
    assert fairness.gini_ppm(moved) <= fairness.gini_ppm(values)


def test_a_rate_counts_every_need_the_same_and_names_the_worst():
    found = fairness.figures(
        "county",
        ["530112001000", "530112002000", "530113001000"],
        np.array([1000, 1, 10]),
        np.array([500, 1, 2]),
    )
    panlong, wuhua = found.divisions
    assert (panlong.division_code, panlong.needs, panlong.met) == ("530112000000", 2, 1)
    assert panlong.rate_ppm == 750_000
    assert panlong.of_quantity_ppm == 501 * 1_000_000 // 1001
    assert found.lowest == wuhua
    assert found.highest == panlong
    assert found.gini_ppm == (750_000 - 200_000) * 1_000_000 // (2 * 950_000)


def test_before_and_after_list_the_worst_served_first():
    codes = ["530112001000", "530113001000"]
    (level,) = fairness.before_and_after(
        ["county"], codes, np.array([10, 10]), np.array([9, 1]), np.array([5, 5])
    )
    assert [row["before_ppm"] for row in level["table"]] == [100_000, 900_000]
    assert level["before"]["gini_ppm"] == 400_000
    assert level["after"]["gini_ppm"] == 0
    assert fairness.price_ppm(1_000_000, 999_000) == 1_000
    assert fairness.price_ppm(0, 0) == fairness.price_ppm(10, 11) == 0


# -------------------------------------------------------------------- groups


@given(placed(), terms)
def test_groups_are_concave_laminar_and_withhold_nothing(placed, terms):
    instance, codes = placed
    groups = fairness.groups_of(terms, codes, instance)
    assert bool(groups) is not terms.is_neutral
    replace(instance, groups=groups).checked()
    assert laminar(groups)
    for level in groups:
        asked = in_groups(level, instance.required)
        for row in range(len(level)):
            own = slice(level.start[row], level.start[row + 1])
            assert (np.diff(level.bonus[own]) <= 0).all()
            assert (level.width[own] > 0).all()
            assert level.width[own].sum() == asked[row]
            assert len(set(instance.tier[level.of_need == row])) == 1


@settings(max_examples=60)
@given(placed(), terms)
def test_the_flow_with_groups_is_the_linear_programmes_optimum(placed, terms):
    instance, codes = placed
    groups = fairness.groups_of(terms, codes, instance)
    instance = replace(instance, tier=np.zeros_like(instance.tier))
    # One tier: groups of both tiers side by side are still laminar.
    instance = replace(instance, groups=groups)
    quantity = solve(instance).quantity
    reached, best = _value(instance, quantity), _best_value(instance, int(quantity.sum()))
    assert reached == pytest.approx(best, rel=1e-6, abs=1e-3)


def _value(instance, quantity):
    """In points."""
    weight = instance.weights() / instance.scale
    total = float(weight @ quantity)
    for level in instance.groups:
        got = in_groups(level, served(instance, quantity))
        for row in range(len(level)):
            left = int(got[row])
            for segment in range(level.start[row], level.start[row + 1]):
                units = min(left, int(level.width[segment]))
                total += units * level.bonus[segment] / instance.scale
                left -= units
    return total


def _best_value(instance, amount):
    """The linear programme over edges and segments, the total being `amount`."""
    edges = len(instance.need)
    segments = [level.width for level in instance.groups]
    columns = edges + sum(len(width) for width in segments)
    gain = np.concatenate(
        [instance.weights(), *(level.bonus for level in instance.groups)]
    ) / float(instance.scale)
    above = np.zeros((len(instance.required) + len(instance.available), columns))
    above[instance.need, np.arange(edges)] = 1
    above[len(instance.required) + instance.line, np.arange(edges)] = 1
    equal = [np.concatenate([np.ones(edges), np.zeros(columns - edges)])]
    first = edges
    for level in instance.groups:
        for row in range(len(level)):
            balance = np.zeros(columns)
            balance[:edges] = level.of_need[instance.need] == row
            balance[first + level.start[row] : first + level.start[row + 1]] = -1
            equal.append(balance)
        first += len(level.width)
    found = linprog(
        -gain,
        A_ub=above,
        b_ub=np.concatenate([instance.required, instance.available]),
        A_eq=np.array(equal),
        b_eq=np.array([amount] + [0] * (len(equal) - 1)),
        bounds=list(
            zip(
                np.zeros(columns),
                [None] * edges + [int(w) for width in segments for w in width],
                strict=True,
            )
        ),
    )
    assert found.status == 0
    return -float(found.fun or 0)


@settings(max_examples=60)
@given(placed(tiers=1), st.integers(100, 1000), st.integers(1, 3000))
def test_a_fairer_curve_never_lowers_what_floors_are_served(placed, floor, strength):
    instance, codes = placed
    bare = FairnessTerms(levels=("county",), curve="utilitarian", floor_permille=floor)
    curved = replace(bare, curve="alpha", strength_permille=strength)
    below = []
    for chosen in (bare, curved):
        groups = fairness.groups_of(chosen, codes, instance)
        got = served(instance, solve(replace(instance, groups=groups)).quantity)
        asked = in_groups(groups[0], instance.required)
        floors = -(-asked * floor // 1000)
        below.append(int(np.minimum(in_groups(groups[0], got), floors).sum()))
    assert below[0] == below[1]


def _two_counties(required=10, available=10):
    """Panlong's need is worth more on the only line than Wuhua's."""
    instance = Instance(
        required=np.array([required, required]),
        tier=np.array([0, 0]),
        whole=np.array([False, False]),
        available=np.array([available]),
        lot=np.array([1]),
        need=np.array([0, 1]),
        line=np.array([0, 0]),
        value=np.array([900, 800]),
    )
    return instance, ["530112001000", "530113001000"]


def _shares(instance, codes, chosen):
    groups = fairness.groups_of(chosen, codes, instance)
    return solve(replace(instance, groups=groups)).quantity.tolist()


def test_welfare_alone_gives_all_to_one_county_and_a_curve_shares():
    instance, codes = _two_counties()
    county = FairnessTerms(levels=("county",), strength_permille=1000)
    assert _shares(instance, codes, FairnessTerms()) == [10, 0]
    assert _shares(instance, codes, county) == [5, 5]
    assert _shares(instance, codes, replace(county, curve="proportional")) == [5, 5]
    assert _shares(instance, codes, replace(county, strength_permille=0)) == [10, 0]


def test_a_floor_comes_before_welfare_and_a_cap_holds_while_another_can_use_it():
    instance, codes = _two_counties()
    straight = FairnessTerms(levels=("county",), curve="utilitarian")
    assert _shares(instance, codes, replace(straight, floor_permille=300)) == [7, 3]
    assert _shares(instance, codes, replace(straight, cap_permille=600)) == [6, 4]
    plenty, codes = _two_counties(available=20)
    assert _shares(plenty, codes, replace(straight, cap_permille=600)) == [10, 10]


def test_the_unit_things_are_counted_in_changes_nothing():
    small, codes = _two_counties()
    large, _ = _two_counties(10**9, 10**9)
    county = FairnessTerms(levels=("county",), strength_permille=100)
    ten, billion = _shares(small, codes, county), _shares(large, codes, county)
    assert [q / 10 for q in ten] == [pytest.approx(q / 10**9, abs=0.051) for q in billion]


# ----------------------------------------------------------------- diversity


@given(placed(), st.integers(0, 1000), st.integers(1, 20), st.integers(0, 1000), st.data())
def test_steps_rise_and_cover_each_line(placed, free, steps, points, data):
    instance, _ = placed
    lines = len(instance.available)
    owners = data.draw(st.lists(st.sampled_from("abc"), min_size=lines, max_size=lines))
    found = fairness.line_steps(DiversityTerms(free, steps, points), owners, instance)
    if found is None:
        assert points == 0 or free == 1000
        return
    replace(instance, line_steps=found).checked()
    for row in range(lines):
        own = slice(found.start[row], found.start[row + 1])
        assert found.width[own].sum() == instance.available[row]
        assert (np.diff(found.cost[own]) > 0).all()


def test_the_tenth_parcel_of_one_organization_comes_after_the_first_of_another():
    # Ten needs of one parcel; the large organization fits a little better everywhere.
    needs = 10
    instance = Instance(
        required=np.ones(needs, dtype=np.int64),
        tier=np.zeros(needs, dtype=np.int64),
        whole=np.zeros(needs, dtype=bool),
        available=np.array([10, 2]),
        lot=np.array([1, 1]),
        need=np.repeat(np.arange(needs), 2),
        line=np.tile([0, 1], needs),
        value=np.tile([520, 500], needs),
    )
    terms = DiversityTerms(free_permille=300, steps=5, points_max=100)
    steps = fairness.line_steps(terms, ["large", "small"], instance)
    alone = solve(instance).quantity.reshape(needs, 2).sum(axis=0)
    mixed = solve(replace(instance, line_steps=steps)).quantity.reshape(needs, 2).sum(axis=0)
    assert alone.tolist() == [10, 0]
    assert mixed.tolist() == [8, 2]


def test_an_organization_s_share_is_of_what_is_asked_when_that_is_less_than_the_supply():
    one = np.zeros(1, dtype=np.int64)
    instance = Instance(
        required=one + 10,
        tier=one,
        whole=one > 0,
        available=one + 100,
        lot=one + 1,
        need=one,
        line=one,
        value=one + 500,
    )
    steps = fairness.line_steps(DiversityTerms(500, 5, 100), ["alone"], instance)
    assert steps is not None
    assert steps.width.tolist() == [5, 1, 1, 1, 1, 91]
