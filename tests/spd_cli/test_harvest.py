"""`spd harvest`: what it hands to the core, what it prints, and that its JSON is what the core says."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.cells import cell_len

from core.errors import Interrupted
from core.harvest import run as harvesting
from core.harvest.artifact import Harvest
from core.harvest.base_rates import base_rates
from core.harvest.card import component_card, plain
from core.harvest.filters import parse_query, select
from core.harvest.listing import component_table
from core.harvest.plan import HarvestPlan
from core.harvest.preparing import HarvestRequest
from core.harvest.settings import HarvestSettings
from core.numerals import grouped
from core.runs.directory import RunDirectory
from core.runs.lock import ProcessLock
from core.runs.observer import Observer
from spd_cli import app, report
from tests.spd_tui.component_runs import add_feature_harvest, add_text_harvest, make_run

Call = Callable[..., tuple[int, str, str]]
RUN = "s-0000aaaa"


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return make_run(tmp_path, RUN)


@pytest.fixture
def harvest(run: RunDirectory) -> Harvest:
    return Harvest(add_text_harvest(run))


@pytest.fixture
def spd(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.setenv("COLUMNS", "80")

    def call(*arguments: str) -> tuple[int, str, str]:
        code = app.run(["harvest", *arguments, "--out", str(tmp_path)])
        told = capsys.readouterr()
        return code, told.out, told.err

    return call


def begin(run: RunDirectory, name: str, saved: int = 0) -> None:
    """A harvest of 1000 positions that was broken off after `saved` batches of 100."""
    plan = HarvestPlan(
        name=name,
        run_id=run.run_id,
        run_digest="",
        target_digest="",
        checkpoint_step=1,
        settings=HarvestSettings(),
        kind="text",
        layers=(("c_fc", 24),),
        vocabulary=40,
        length=10,
        sequences=100,
        batch_size=10,
        shards=1,
        threads=1,
        device="cpu",
        precision="fp32",
        save_seconds=1,
        created=datetime(2030, 1, 1, tzinfo=UTC),
        command=("spd", "harvest", run.run_id),
    )
    run.harvest_work(name).mkdir(parents=True)
    plan.write(run.harvest_work(name))
    if saved:
        (run.harvest_work(name) / f"shard-0000-batches-{saved:08d}.state").touch()


@dataclass
class Core:
    """Stands in for the work: keeps what was asked for."""

    requests: list[HarvestRequest] = field(default_factory=list)
    error: BaseException | None = None

    def harvest_run(self, request: HarvestRequest, observer: Observer) -> Any:
        self.requests.append(request)
        observer.progress("harvest", 0, 1000, unit=None)
        if self.error:
            begin(request.run, "h-20300101-000000")
            raise self.error
        observer.progress("harvest", 1000, 1000, f"{grouped(123_456)} tokens/s", unit=None)
        folder = request.run.harvest(request.run.harvest_names()[-1])
        return SimpleNamespace(folder=folder, summary={"folder": str(folder), "never_fired": 7})


@pytest.fixture
def core(monkeypatch: pytest.MonkeyPatch) -> Core:
    core = Core()
    monkeypatch.setattr(harvesting, "harvest_run", core.harvest_run)
    return core


def test_options_reach_the_core(spd: Call, core: Core, harvest: Harvest, tmp_path: Path) -> None:
    words = "--tokens 5000 --batch-size 8 --workers 3 --threshold 0.1 --examples 7 --strongest 3 --context 4"
    words += " --exact-output --seed 9 --device cpu --precision fp32"
    assert spd(RUN, *words.split())[0] == 0
    (request,) = core.requests
    assert request.settings == HarvestSettings(
        threshold=0.1, context=4, uniform_examples=7, strongest_examples=3, output_share=1.0, seed=9
    )
    assert (request.positions, request.batches, request.batch_size, request.workers) == (5000, None, 8, 3)
    assert (request.device, request.precision, request.resume) == ("cpu", "fp32", False)
    assert request.run.run_id == RUN and request.root == tmp_path and request.command[0] == "spd"


def test_defaults_are_those_of_the_core(spd: Call, core: Core, harvest: Harvest) -> None:
    assert spd(RUN)[0] == 0
    assert core.requests[0].settings == HarvestSettings()
    assert core.requests[0].positions is None and core.requests[0].batches is None


def test_the_summary_tells_base_rates(spd: Call, core: Core, harvest: Harvest) -> None:
    code, out, err = spd(RUN)
    rates = base_rates(harvest.firings().to_numpy(), harvest.positions, harvest.layers)
    assert code == 0
    assert f"{rates.components}: {rates.fired} fired, {rates.never_fired} never" in out
    assert f"{rates.fired_rarely} fired fewer than 100 times" in out
    assert str(harvest.folder) in out and f"spd tui {RUN}" in out and "384 tokens" in out
    assert f"harvest: {grouped(1000)}/{grouped(1000)} ({grouped(123_456)} tokens/s)" in err
    assert "steps/s" not in err


def test_json_is_the_summary_alone(spd: Call, core: Core, harvest: Harvest) -> None:
    code, out, err = spd(RUN, "--json", "--quiet")
    assert code == 0 and err == ""
    assert json.loads(out) == {"folder": str(harvest.folder), "never_fired": 7}


def test_after_ctrl_c_the_message_is_the_command_that_resumes(
    spd: Call, core: Core, harvest: Harvest, tmp_path: Path
) -> None:
    core.error = Interrupted("stopped after 10 of 100 positions; everything up to there is saved.", "Resume.")
    code, out, err = spd(RUN, "--tokens", "100", "--workers", "2", "--exact-output", "--device", "cpu")
    assert code == 130 and out == "" and "stopped after 10 of 100" in err
    command = shlex.split(err.strip().splitlines()[-1].split("Go on with: ")[1])
    core.error = None
    assert app.run(command[1:]) == 0
    first, second = core.requests
    assert second.resume and not first.resume
    assert (first.harvest, second.harvest) == (None, "h-20300101-000000")
    assert (second.settings, second.positions, second.workers) == (
        first.settings,
        first.positions,
        first.workers,
    )
    assert (second.device, second.root, second.run) == (first.device, tmp_path, first.run)


def test_ctrl_c_before_anything_began(
    spd: Call, core: Core, harvest: Harvest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(harvesting, "harvest_run", stop)
    code, _, err = spd(RUN)
    assert code == 130 and "begins again" in err and "--resume" not in err


def test_after_ctrl_c_the_harvest_that_was_gone_on_with_is_named(
    spd: Call, core: Core, run: RunDirectory
) -> None:
    begin(run, "h-20290101-000000", 3)
    begin(run, "h-20290101-000001")
    for chosen, named in ((["--harvest", "h-20290101-000000"], "000000"), ([], "000001")):
        core.error = KeyboardInterrupt()
        code, _, err = spd(RUN, "--resume", *chosen)
        assert code == 130 and f"--resume --harvest h-20290101-{named}" in err
        shutil.rmtree(run.harvest_work("h-20300101-000000"))
    core.error = KeyboardInterrupt()
    with ProcessLock(run.harvest_lock("h-20290101-000001"), "the harvest"):
        assert "--resume --harvest h-20290101-000000" in spd(RUN, "--resume")[2]


def test_a_finished_harvest_is_not_to_be_gone_on_with(
    spd: Call, core: Core, run: RunDirectory, harvest: Harvest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(request: HarvestRequest, _: Observer) -> None:
        begin(run, harvest.folder.name)  # its work folder, which is still there
        raise Interrupted("the harvest is finished.", "Look at it.")

    monkeypatch.setattr(harvesting, "harvest_run", stop)
    code, _, err = spd(RUN)
    assert (code, err.strip()) == (130, "the harvest is finished. Look at it.")


def test_unfinished_harvests_are_listed_with_what_is_saved(spd: Call, core: Core, run: RunDirectory) -> None:
    code, out, err = spd(RUN, "--unfinished")
    assert (code, out) == (0, "") and "no unfinished harvest" in err
    begin(run, "h-20290101-000000", 3)
    begin(run, "h-20290101-000001", 10)
    run.harvest_lock("h-20290101-000001").write_text("{}")  # just being written: somebody is there
    begin(run, "h-20290101-000002")
    (run.harvest_work("h-20290101-000002") / "plan.json").write_text('{"version": 1}')
    code, out, err = spd(RUN, "--unfinished")
    words = [line.split() for line in out.splitlines() if line.strip()]
    assert [row[:2] for row in words if row[0].startswith("h-")] == [
        ["h-20290101-000002", "damaged"],
        ["h-20290101-000001", "100"],
        ["h-20290101-000000", "30"],
    ]
    assert re.search(r"h-20290101-000000 +30 % +300 +1 000 ", out)
    assert re.search(r"h-20290101-000001 +100 % +1 000 +1 000 ", out)
    assert code == 0 and "plan.json is damaged" in err
    assert f"spd harvest {RUN} --resume --harvest h-20290101-000000" in out
    told = json.loads(spd(RUN, "--unfinished", "--json")[1])
    assert [one["counted"] for one in told] == [None, 1000, 300]
    assert [one["share"] for one in told] == ["damaged", "100 %", "30 %"]
    assert [one["begun"] for one in told] == [None, *2 * ["2030-01-01T00:00:00+00:00"]]
    assert not core.requests


def test_a_quiet_list_of_the_unfinished_shows_no_spinner(
    spd: Call, run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet: list[bool] = []

    def working(_: str, silent: bool = False) -> AbstractContextManager[None]:
        quiet.append(silent)
        return nullcontext()

    monkeypatch.setattr(report, "working", working)
    assert spd(RUN, "--unfinished", "--quiet")[0] == 0
    assert quiet == [True]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--tokens", "5", "--batches", "5"], "Give one"),
        (["--exact-output", "--output-share", "0.5"], "Give one"),
        (["--list", "--show", "c_fc:1"], "Give one"),
        (["--query", "she", "--workers", "2"], "--workers is for counting"),
        (["--show", "c_fc:1", "--resume"], "--resume is for counting"),
        (["--list", "--examples", "3"], "--examples says nothing"),
        (["--show", "c_fc:1", "--examples", "3", "--strongest", "3"], "Give one"),
        (["--measure", "pmi"], "--show COMPONENT"),
        (["--harvest", "h-1"], "--list, --show or --resume"),
        (["--unfinished", "--resume"], "--resume says nothing to --unfinished"),
        (["--unfinished", "--device", "cuda"], "--device says nothing to --unfinished"),
        (["--unfinished", "--precision", "bf16"], "--precision says nothing to --unfinished"),
        (["--list", "--device", "cpu"], "--device is for counting"),
        (["--threshold", "1.5"], "threshold"),
        (["--output-share", "2"], "output_share"),
        (["--show", "c_fd:1"], "Did you mean c_fc"),
        (["--show", "c_fc:99"], "components 0 to 23"),
        (["--show", "c_fc:1", "--measure", "jacard"], "Did you mean jaccard"),
        (["--list", "--query", "densty>1"], "Did you mean density"),
        (["--list", "--query", 'token:"have'], """'token:"have' in the query opens a quote"""),
        (["--list", "--harvest", "h-20261101"], "Did you mean h-20261101-120000"),
    ],
)
def test_what_cannot_be_is_said(
    spd: Call, core: Core, harvest: Harvest, arguments: list[str], told: str
) -> None:
    code, out, err = spd(RUN, *arguments)
    assert code == 2 and out == "" and told in err and not core.requests


def test_reading_without_a_harvest_says_what_to_do(spd: Call, run: RunDirectory) -> None:
    code, out, err = spd(RUN, "--list")
    assert code == 2 and out == "" and f"spd harvest {RUN}" in err


def test_a_damaged_table_is_a_failure_that_names_it(spd: Call, harvest: Harvest) -> None:
    (harvest.folder / "components.parquet").write_bytes(b"PAR1")
    code, out, err = spd(RUN, "--list")
    assert code == 1 and out == "" and "components.parquet cannot be read" in err
    (harvest.folder / "manifest.json").write_text("{")
    code, out, damaged = spd(RUN, "--list")
    assert code == 1 and out == "" and "manifest.json is not valid JSON" in damaged
    again = f"Harvest again: spd harvest {harvest.folder.parents[1].name}."
    assert err.strip().endswith(again) and damaged.strip().endswith(again)


@pytest.mark.parametrize(
    "query", ["", "layer:mlp is:fired sort:density", 'token:" she"', "density>5% sort:layer"]
)
def test_list_is_the_selection(spd: Call, harvest: Harvest, query: str) -> None:
    table = component_table(harvest)
    expected = select(table, parse_query(query))
    code, out, err = spd(RUN, "--list", "--query", query, "--limit", "6", "--json")
    data = json.loads(out)
    assert code == 0 and err == ""
    assert data["rows"] == json.loads(json.dumps(expected.head(6).to_dicts()))
    assert (data["components"], data["matching"]) == (len(table), len(expected))
    code, out, err = spd(RUN, "--query", query, "--limit", "6")
    assert code == 0
    assert re.findall(r"^\s?(h\S+:\d+)", out, re.M) == expected["key"].head(6).to_list()
    assert f"{len(expected)} of {len(table)} components" in err or f"6 of {len(expected)} are shown" in err


def test_an_empty_list_is_no_table_and_names_the_harvest(spd: Call, harvest: Harvest) -> None:
    code, out, err = spd(RUN, "--list", "--query", "layer:nosuch")
    assert code == 0 and out == "" and err.startswith("0 of ") and harvest.folder.name in err


def test_a_narrow_card_cuts_no_number_and_no_sentence(
    spd: Call, harvest: Harvest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "44")
    code, out, _ = spd(RUN, "--show", "c_fc:1")
    told = " ".join(out.split())
    assert code == 0 and re.search(r"the highest column: [\d,]+\)", told)
    assert "the share where the other does" in told and "» « marks the firing)" in told


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ((), {}),
        (("--measure", "pmi"), {"measure": "pmi"}),
        (("--strongest", "3"), {"strongest": True, "examples": 3}),
        (("--examples", "2"), {"examples": 2}),
    ],
)
def test_show_json_is_the_card(
    spd: Call, harvest: Harvest, arguments: tuple[str, ...], options: dict[str, Any]
) -> None:
    code, out, err = spd(RUN, "--show", "0.mlp.c_fc:3", "--json", *arguments)
    assert code == 0 and err == ""
    card = component_card(harvest, 3, **{"partners": 10, "examples": 10, **options})
    expected = {"harvest": harvest.folder.name, **plain(card)}
    assert json.loads(out) == json.loads(json.dumps(expected))


def test_show_fits_its_width_and_has_no_colour_in_a_pipe(
    spd: Call, harvest: Harvest, monkeypatch: pytest.MonkeyPatch
) -> None:
    for columns in (40, 80, 200):
        monkeypatch.setenv("COLUMNS", str(columns))
        for component in ("c_fc:0", "c_fc:6", "attn:5"):
            code, out, err = spd(RUN, "--show", component)
            assert code == 0 and err == "" and "\x1b" not in out
            assert all(cell_len(line) <= columns for line in out.splitlines())


def test_show_says_what_numbers_condition_on(spd: Call, harvest: Harvest) -> None:
    out = spd(RUN, "--show", "c_fc:3")[1]
    assert out.startswith("h.0.mlp.c_fc:3  component 3\nfires on ")
    for words in (
        "P(other|this)",
        "P(this|other)",
        "P(token|fires)",
        "P(fires|token)",
        "share of its mass",
        "LLR",
        "»",
    ):
        assert words in out
    assert "never fired on 384 tokens" in spd(RUN, "--show", "c_fc:6")[1]


def test_toys_show_features(spd: Call, run: RunDirectory) -> None:
    harvest = Harvest(add_feature_harvest(run))
    out = spd(RUN, "--show", "linear1:2")[1]
    assert "samples" in out and "P(feature|fires)" in out and "token" not in out.split("examples")[0]
    features = component_card(harvest, 2).examples[0].features
    assert features is not None
    strongest = max(features, key=lambda feature: abs(feature[1]))
    assert f"x{strongest[0]} = {strongest[1]:+.2f}" in out


def test_reading_imports_no_torch(harvest: Harvest, tmp_path: Path) -> None:
    script = (
        "import sys; from spd_cli.app import run\n"
        f"assert run(['harvest', '{RUN}', '--show', 'c_fc:3', '--out', {str(tmp_path)!r}]) == 0\n"
        f"assert run(['harvest', '{RUN}', '--list', '--out', {str(tmp_path)!r}]) == 0\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
