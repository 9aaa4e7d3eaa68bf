"""How often a routed claim is false, and what decides when it has seen enough."""

import numpy as np
import pytest

from worker.certification import (
    Abstained,
    Certified,
    Looks,
    Routed,
    Single,
    Staged,
    StoppingRule,
    Tally,
    join_routed,
    plan_looks,
)

ALPHA = 0.01
N_MAX = 200


def create_routed(bank_size: int = 2, num_classes: int = 2, **rule) -> Routed:
    stage = Staged(n_max=N_MAX, alpha=ALPHA / 2, rule=StoppingRule(**rule))
    return Routed(num_classes=num_classes, bank_size=bank_size, procedure=stage)


def run(routed: Routed, votes: list[np.ndarray], sigma: float = 1.0):
    """Follows the goals on given votes: one array of options per ballot, one vote a sample."""
    sizes = [look.n for look in plan_looks(ALPHA / 2, N_MAX)]
    looks: list[Looks] = [{"selection": (), "estimation": ()} for _ in votes]
    done = 0
    while goals := routed.find_goals(looks, sigma=sigma):
        (n,) = {goal.n for goal in goals}
        assert n == sizes[done]
        done += 1
        for place, (options, ballot) in enumerate(zip(routed.options, votes, strict=True)):
            if routed.procedure.find_goals(looks[place], sigma=sigma):
                counts = tuple(np.bincount(ballot[:n], minlength=options).tolist())
                made = (*looks[place]["estimation"], Tally(counts=counts))
                looks[place] = {"selection": (), "estimation": made}
    return routed.decide(looks, sigma=sigma)


@pytest.mark.long
@pytest.mark.parametrize(
    ("choice", "under"),
    [
        ((0.5, 0.5), ((1.0, 0.0), (0.0, 1.0))),  # the choice is open, and the class hangs on it
        ((1.0, 0.0), ((0.5, 0.5), (0.5, 0.5))),  # the class is open
        ((0.5, 0.5), ((0.5, 0.5), (0.5, 0.5))),
    ],
)
@pytest.mark.parametrize("shared", [False, True])
def test_claims_at_ties_are_no_more_often_false_than_alpha(choice, under, shared):
    """At a tie the true radius is 0, so every claim is false. 4 standard errors of 4,000 runs."""
    rng = np.random.default_rng(1)
    routed = create_routed(tolerance=0.0)
    runs, false = 4_000, 0
    for _ in range(runs):
        words = rng.random((3, N_MAX))
        words = words[:1].repeat(3, axis=0) if shared else words  # ballots on the same noise
        law = (choice, *under)
        votes = [(words[i] >= law[i][0]).astype(np.int64) for i in range(3)]
        false += isinstance(run(routed, votes).outcome, Certified)
    assert false / runs <= ALPHA + 4 * np.sqrt(ALPHA * (1 - ALPHA) / runs)


def test_a_claim_above_the_true_radius_is_no_more_often_made_than_alpha():
    """Half-spaces: vote probabilities Phi(d/sigma); the pipeline's true radius is the smaller d."""
    from scipy.stats import norm

    rng = np.random.default_rng(2)
    routed = create_routed(tolerance=0.0)
    d_choice, d_class, runs, false = 0.6, 0.8, 4_000, 0
    for _ in range(runs):
        words = rng.random((3, N_MAX))
        laws = (norm.cdf(d_choice), norm.cdf(d_class), 0.0)
        votes = [(words[i] >= laws[i]).astype(np.int64) for i in range(3)]
        outcome = run(routed, votes).outcome
        false += isinstance(outcome, Certified) and outcome.radius > min(d_choice, d_class)
    assert false / runs <= ALPHA + 4 * np.sqrt(ALPHA * (1 - ALPHA) / runs)


def votes_for(option: int) -> np.ndarray:
    return np.full(N_MAX, option)


def test_the_class_is_that_of_the_prompt_chosen():
    routed = create_routed(bank_size=3, num_classes=2)
    found = run(routed, [votes_for(2), votes_for(0), votes_for(0), votes_for(1)])
    assert found.selector.top_class == 2
    assert isinstance(found.outcome, Certified)
    assert found.outcome.top_class == 1


def test_prompts_that_are_not_chosen_cost_no_sample():
    """Theirs are even splits that would go on to n_max; the chosen one is done at once."""
    routed = create_routed(target_radius=0.5)
    even = np.arange(N_MAX) % 2
    looks: list[Looks] = []
    for options, ballot in zip(routed.options, [votes_for(0), votes_for(0), even], strict=True):
        first = Tally(counts=tuple(np.bincount(ballot[:64], minlength=options).tolist()))
        looks.append({"selection": (), "estimation": (first,)})
    assert routed.find_goals(looks, sigma=1.0) == ()


def certified(radius: float, top_class: int = 0) -> Certified:
    return Certified(top_class=top_class, radius=radius, p_a_lower=0.9, p_b_upper=0.1)


def abstained(top_class: int = 0) -> Abstained:
    return Abstained(top_class=top_class, p_a_lower=0.4, p_b_upper=0.6)


@pytest.mark.parametrize(("selector", "classifier"), [(0.3, 0.5), (0.5, 0.3), (0.4, 0.4)])
def test_the_radius_is_the_smaller_one(selector, classifier):
    found = join_routed(certified(selector, 3), certified(classifier, 1))
    assert isinstance(found, Certified)
    assert (found.radius, found.top_class) == (min(selector, classifier), 1)


@pytest.mark.parametrize(
    ("selector", "classifier"),
    [(abstained(), certified(1.0)), (certified(1.0), abstained()), (abstained(), abstained())],
)
def test_an_abstention_of_either_abstains(selector, classifier):
    assert isinstance(join_routed(selector, classifier), Abstained)


def test_one_ballot_is_its_procedure():
    stage = Staged(n_max=N_MAX, alpha=ALPHA, rule=StoppingRule())
    single = Single(num_classes=3, procedure=stage)
    looks: Looks = {"selection": (), "estimation": (Tally(counts=(40, 20, 4)),)}
    assert single.options == (3,)
    assert single.find_goals([looks], sigma=0.5) == stage.find_goals(looks, sigma=0.5)
