"""`finecut evaluate`: a run on a split, a matrix of similarities, or a TREC run, in figures."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from finecut.cli import options
from finecut.cli.learn import need_torch
from finecut.cli.show import command, print_json, say, table
from finecut.cli.show_result import show_procedures, show_result
from finecut.errors import UsageError

if TYPE_CHECKING:
    from finecut.learn.evaluation.report import Report

MATRIX_TEMPERATURE = 0.05  # of cosines: QB-Norm's beta 20, for dual softmax as well


def register(app: typer.Typer) -> None:
    """Add the verb of this file."""
    app.command(
        epilog=options.examples(
            "finecut evaluate runs/eercf --data MSRVTT --split 1k-A",
            "finecut evaluate runs/seed1 runs/seed2 --data MSRVTT --split 1k-A --dsl --qbnorm",
            "finecut evaluate runs/a --data MSRVTT --split 1k-A --output a.json --against b.json",
            "finecut evaluate --sims sims.npy --text-to-video right.npy --bank bank.npy --dsl",
            "finecut evaluate --run my.run --qrels avs.qrels.tv19 --topics tv19.avs.txt",
        )
    )(evaluate)


@command
def evaluate(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[RUN]...", help="Folders that `train` wrote; several are seeds."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The data; the recipe's otherwise.")
    ] = None,
    split: Annotated[str, typer.Option(help="A split as `data check` names it.")] = "test",
    recall_k: Annotated[
        str | None,
        typer.Option(metavar="K", help="Candidates to re-rank, or all; the recipe's otherwise."),
    ] = None,
    rerank: Annotated[
        bool | None,
        typer.Option("--rerank/--no-rerank", help="Re-ranked figures; where the method re-ranks."),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="single, multi or paragraph; the split's own otherwise."),
    ] = None,
    dsl: Annotated[
        bool, typer.Option("--dsl", help="Also with dual softmax over all queries.")
    ] = False,
    dsl_temperature: Annotated[
        float | None, typer.Option(metavar="T", help="Of similarities; the recipe's otherwise.")
    ] = None,
    qbnorm: Annotated[
        bool, typer.Option("--qbnorm", help="Also with a bank of training sentences.")
    ] = False,
    beta: Annotated[
        float | None, typer.Option(help="QB-Norm's; the recipe's, or 20, otherwise.")
    ] = None,
    relevance: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Gains: .npy [Q, G], or lines `topic 0 video gain`."),
    ] = None,
    sims: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Similarities .npy [Q, G], no model.")
    ] = None,
    text_to_video: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The right column of each row, .npy [Q].")
    ] = None,
    bank: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Similarities .npy [N, G] of other queries.")
    ] = None,
    run: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A TREC run to score by --qrels.")
    ] = None,
    qrels: Annotated[Path | None, typer.Option(metavar="FILE", help="TREC judgements.")] = None,
    topics: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Count these AVS topics alone.")
    ] = None,
    trec: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the ranking as a TREC run.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write figures and ranks as JSON.")
    ] = None,
    against: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Compare with such a file by bootstrap.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Items encoded at once; the recipe's otherwise.")
    ] = None,
    device: Annotated[str, typer.Option(help="Where the model runs, as torch names it.")] = "cpu",
    cache: Annotated[
        bool, typer.Option("--cache/--no-cache", help="Keep what is encoded, to go on from it.")
    ] = True,
    as_json: options.Json = False,
) -> None:
    """Measure a trained model on a split of a benchmark.

    Plain figures are of the recall score alone. Re-ranked ones, those with dual softmax (which
    needs all queries at once) and those with a query bank stand in blocks of their own: they must
    not be compared with plain ones. Without a model: similarities by --sims, a TREC run by --run.
    """
    if sum((bool(runs), sims is not None, run is not None)) != 1:
        raise UsageError("evaluate takes one of: RUN folders, --sims FILE, or --run FILE.")
    of_model = {
        "--data": data, "--recall-k": recall_k, "--qbnorm": qbnorm or None,
        "--batch-size": batch_size, "--protocol": protocol, "--rerank": rerank,
    }  # fmt: skip
    of_scores = {
        "--dsl": dsl or None, "--dsl-temperature": dsl_temperature, "--beta": beta,
        "--relevance": relevance, "--trec": trec, "--against": against,
    }  # fmt: skip
    of_matrix = {"--text-to-video": text_to_video, "--bank": bank}
    of_run = {"--qrels": qrels, "--topics": topics}
    if run is not None:
        _refuse("--run", of_model | of_scores | of_matrix)
    elif sims is not None:
        _refuse("--sims", of_model | of_run)
    else:
        _refuse("RUN folders", of_matrix | of_run)
    for name, value in (("--beta", beta), ("--dsl-temperature", dsl_temperature)):
        if value is not None and not 0 < value < float("inf"):
            raise UsageError(f"{name} must be a number above 0, got {value}.")
    if run is not None:
        _run_file(run, qrels, topics, output, as_json)
        return
    if sims is not None:
        reports = [_matrix(sims, text_to_video, bank, dsl, dsl_temperature, beta, relevance)]
    else:
        need_torch()
        from finecut.learn.evaluation.procedures_run import is_procedure
        from finecut.learn.evaluation.run import Options, evaluate_run, same_method

        if protocol not in (None, "single", "multi", "paragraph"):
            raise UsageError(f"--protocol must be single, multi or paragraph, got {protocol!r}.")
        same_method(runs or [])
        if is_procedure(runs or [], data, split):
            _refuse("CrossTask and COIN", of_scores | {"--recall-k": recall_k})
            _procedures(runs or [], data, split, device, cache, output, as_json)
            return
        k, every = _recall_k(recall_k)
        wanted = Options(
            rerank=rerank, recall_k=k, every_candidate=every,
            dsl=dsl or dsl_temperature is not None, dsl_temperature=dsl_temperature,
            qbnorm=qbnorm or beta is not None, beta=beta, batch_size=batch_size,
            cache=cache, device=device, relevance=relevance, protocol=protocol,
        )  # fmt: skip
        reports = []
        for folder in runs or []:
            progress = Progress()
            reports.append(
                evaluate_run(
                    folder, split, root=data, options=wanted, on_progress=progress,
                    on_open=progress.opened,
                )
            )  # fmt: skip
    _show(reports, trec, output, against, as_json)


def _show(
    reports: list[Report],
    trec: Path | None,
    output: Path | None,
    against: Path | None,
    as_json: bool,
) -> None:
    from finecut.learn.evaluation import result
    from finecut.learn.evaluation.compare import compare
    from finecut.learn.evaluation.trec import topic_names, write_trec

    first = reports[0]
    if trec is not None and len(reports) > 1:
        raise UsageError("--trec takes one RUN: several seeds have no common ranking.")
    found = result.as_json(reports)
    stored = result.as_stored(reports)
    if against is not None:
        found["against"] = stored["against"] = {
            "file": str(against),
            **compare(stored, result.read_result(against)),
        }
    if trec is not None:
        tag = "finecut-reranked" if "reranked" in first.blocks else "finecut-plain"
        names = topic_names(first.video_ids, first.query_videos)
        write_trec(trec, names, first.video_ids, first.rows, tag=tag)
    if output is not None:
        result.write_result(output, stored)
    if as_json:
        print_json(found)
    else:
        show_result(found)
    if not found["standard"]:
        say(f"not a standard run: {found['why_not']}")
    if found.get("note"):
        say(f"note: {found['note']}")


def _matrix(
    sims: Path,
    text_to_video: Path | None,
    bank: Path | None,
    dsl: bool,
    temperature: float | None,
    beta: float | None,
    relevance: Path | None,
) -> Report:
    from finecut.learn.evaluation.arrays import load_array
    from finecut.learn.evaluation.evaluate import BETA, evaluate_matrix

    if text_to_video is None:
        raise UsageError("--sims also needs --text-to-video FILE: the right column of each row.")
    if beta is not None and bank is None:
        raise UsageError("--beta with --sims also needs --bank FILE.")
    asked = dsl or temperature is not None
    return evaluate_matrix(
        load_array(sims, "similarities [Q, G]"),
        load_array(text_to_video, "whole numbers [Q]"),
        dsl=(temperature or MATRIX_TEMPERATURE) if asked else None,
        bank=None if bank is None else load_array(bank, "similarities [N, G]"),
        beta=beta or BETA,
        relevance=relevance,
    )


def _procedures(
    runs: list[Path],
    data: Path | None,
    split: str,
    device: str,
    cache: bool,
    output: Path | None,
    as_json: bool,
) -> None:
    from finecut.learn.evaluation import result
    from finecut.learn.evaluation.compare import with_seeds
    from finecut.learn.evaluation.procedures_run import evaluate_procedures

    found = with_seeds(
        [
            evaluate_procedures(
                run, split, root=data, device=device, cache=cache, on_progress=Progress()
            )
            for run in runs
        ]
    )
    if output is not None:
        result.write_result(output, found)
    if as_json:
        print_json(found)
    else:
        show_procedures(found)
    say(f"not a standard run: {found['why_not']}")


def _run_file(
    run: Path, qrels: Path | None, topics: Path | None, output: Path | None, as_json: bool
) -> None:
    from finecut.learn.evaluation import result
    from finecut.learn.evaluation.avs import evaluate_run_file

    if qrels is None:
        raise UsageError("--run also needs --qrels FILE: the judgements.")
    found = evaluate_run_file(run, qrels, topics)
    if output is not None:
        result.write_result(output, found)
    if as_json:
        print_json(found)
        return
    names = ("xinfAP", "infAP", "map", "infNDCG", "iP10", "iP100")
    table([("topics", *names), (str(found["topics"]), *(f"{found[n]:.4f}" for n in names))],
          right=tuple(range(len(names) + 1)))  # fmt: skip
    if found["topics_missing"]:
        say(f"not in the run, and left out of the means: {', '.join(found['topics_missing'])}")


def _refuse(mode: str, given: dict[str, Any]) -> None:
    wrong = [name for name, value in given.items() if value is not None]
    if wrong:
        raise UsageError(f"{', '.join(wrong)} cannot be used with {mode}.")


def _recall_k(given: str | None) -> tuple[int | None, bool]:
    if given is None or given == "all":
        return None, given == "all"
    if not given.isdecimal() or int(given) < 1:
        raise UsageError(f"--recall-k must be a number from 1, or all; got {given!r}.")
    return int(given), False


class Progress:
    """Says how far an evaluation is, how fast it goes and when it will be done."""

    EVERY_S = 2.0

    def __init__(self) -> None:
        self.what = ""
        self.began = self.said = 0.0
        self.first = 0

    def opened(self, data: Any) -> None:
        """What was found."""
        say(
            f"{data.name} {data.split}: {len(data.sentences)} sentences of "
            f"{len(data.video_ids)} videos, {len(data.missing)} missing"
        )

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if what != self.what:
            self.what, self.began, self.first, self.said = what, now, done, now
        if now - self.said < self.EVERY_S or done == total:
            return
        self.said = now
        rate = (done - self.first) / (now - self.began)
        left = f", {(total - done) / rate:.0f} s left" if rate else ""
        say(f"{what}: {done}/{total}, {rate:.1f}/s{left}")
