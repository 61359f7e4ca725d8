"""Scores the test split and every anomaly suite, divided over ranks."""

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from typing import Any

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.evaluation.ceilings import NormalMixture
from lj_vae_hpc.evaluation.checks import check_evaluation
from lj_vae_hpc.evaluation.conditional.physics import learned_physics
from lj_vae_hpc.evaluation.examples import examples
from lj_vae_hpc.evaluation.kept import remove_leftovers, remove_outdated
from lj_vae_hpc.evaluation.session import Session, open_sources
from lj_vae_hpc.evaluation.sources import RunData
from lj_vae_hpc.evaluation.splits import SPLITS
from lj_vae_hpc.evaluation.studies.registry import chosen_studies
from lj_vae_hpc.evaluation.study import run_studies
from lj_vae_hpc.evaluation.suite_data import sample_suites, with_seed_of_data
from lj_vae_hpc.evaluation.suites.base import Suite
from lj_vae_hpc.evaluation.suites.registry import suites_of
from lj_vae_hpc.evaluation.summary import provenance, summarize, table
from lj_vae_hpc.evaluation.weights import load_network
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.run.files import write_text
from lj_vae_hpc.run.folder import RunDir
from lj_vae_hpc.store.reader import Dataset
from lj_vae_hpc.store.tables import Table
from lj_vae_hpc.training.accuracy import COUNT, Accuracy, measure
from lj_vae_hpc.training.continuation import why_older, why_unfinished
from lj_vae_hpc.training.curves import read_metrics
from lj_vae_hpc.training.network import Network
from lj_vae_hpc.training.setup import check_data, data_facts


def evaluate(world: World, run: RunDir, config: RunConfig) -> None:
    """The command: writes evaluation/scores.h5 and evaluation/summary.json; only what is missing is computed.

    Raises:
        UserError: no data set, no trained weights, or weights of another architecture.
        Stopped: a signal or deadline came; what was sampled and scored is kept.
    """
    world.on_root(lambda: check_data(run, config, 1))
    world.on_root(lambda: remove_leftovers(run.evaluation))
    network, weights = load_network(world, run, config)
    world.on_root(lambda: check_evaluation(run, config, weights.gammas))
    suites, left_out = suites_of(world.on_root(lambda: with_seed_of_data(run, config)), weights.gammas)
    studies = chosen_studies(config.evaluation.studies)
    if world.is_root:
        history = read_metrics(run.metrics)
        if history and (warning := why_unfinished(len(history), config.training, run)):
            print(f"evaluation: warning: {warning}", flush=True)
        for name, reason in left_out.items():
            print(f"evaluation: {name} is left out: {reason}", flush=True)
    sample_suites(world, run, config, suites)
    with ExitStack() as files:
        dataset = files.enter_context(Dataset(run.dataset))
        data = RunData.of(dataset, config, weights.gammas)
        sources = open_sources(world, run, config, suites, data, files)
        session = Session(world, run.evaluation / "scores", config, network, weights, data, sources)
        results = session.score_suites()
        mixture = session.fit_mixture()
        physics = learned_physics(session.conditional(), config.system)
        made_with = {
            "weights": weights.sha256, "splits": data.facts, "configurations": config.evaluation.configurations,
        }  # fmt: skip
        path = run.evaluation / "studies.json"
        run_studies(world, path, studies, lambda: session.context(run.evaluation / "suites"), config, made_with)
        shown = examples(network, sources, config) if world.is_root else {}
        accuracy = world.on_root(lambda: _accuracy(network, config, data))
        facts = provenance(weights, left_out, config.sampling.protocol)
        facts |= {"learned_physics": physics, "accuracy": asdict(accuracy)}
        results.write(world, run.evaluation / "scores.h5", shown)
        world.on_root(lambda: _sum_up(run, suites, mixture, facts))
        if world.is_root:
            print(f"evaluation: {accuracy}", flush=True)
            if warning := why_older(weights.trained, data_facts(dataset), run):
                print(f"evaluation: warning: {warning}", flush=True)
    for kept in ("scores", "learned"):
        world.on_root(partial(remove_outdated, run.evaluation / kept, weights.sha256))


def _accuracy(network: Network, config: RunConfig, data: RunData) -> Accuracy:
    """What the network loses of the test split."""
    training = data.training.read(range(min(len(data.training), network.rows_for_components)))
    return measure(network, config, training, data.test.read(range(min(len(data.test), COUNT))))


def _sum_up(run: RunDir, suites: Sequence[Suite], mixture: NormalMixture, facts: dict[str, Any]) -> None:
    with Table(run.evaluation / "scores.h5", checked=False) as stored:
        columns = {name: stored.group(name) for name in (*SPLITS, *(suite.name for suite in suites))}
        summary = summarize(suites, columns, mixture) | facts
    write_text(run.evaluation / "summary.json", json.dumps(summary, indent=1))
    print(table(summary), flush=True)
