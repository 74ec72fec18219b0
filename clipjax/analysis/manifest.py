"""manifest.json of a run as types: what was asked of which model about which images, and under what circumstances."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from clipjax.analysis.records import Record
from clipjax.design import Design
from clipjax.stored import Count

MIN_N = 20  # a cell with fewer images is shown and marked


class SourceFile(Struct):
    """A file that something came from: the parameters of a model, or answers that were computed elsewhere."""

    name: str
    sha256: str


class Model(Struct):
    """Which model answered. `source`: the file's own word of where it comes from; `config`: the architecture.

    Of a user's Python file (`custom`), `weights_sha256` is of everything that decides its features, and `config` has
    `embed_dim`, `device` and the file's own `settings`. Of answers that were ingested only the name is known: no
    sha256, no architecture, and a scale of 1. `logit_bias`: of models trained with a sigmoid loss.
    """

    name: str
    weights_sha256: str
    config: dict[str, Any]
    logit_scale: float
    source: dict[str, Any] = {}
    file: SourceFile | UnsetType = UNSET
    logit_bias: float | UnsetType = UNSET

    @property
    def custom(self) -> bool:
        """Whether a user's Python file computed the features."""
        return self.source.get("format") == "py"


class Data(Struct):
    """Which images: `n` rows, those that could not be read among them."""

    name: str
    fingerprint: str
    n: Count
    group_columns: list[str]


class SkippedFile(Struct):
    """An image that could not be read."""

    file: str
    reason: str


class Counts(Struct):
    """Images that were read, and those that were not, file by file."""

    seen: Count
    skipped: Count
    skipped_files: list[SkippedFile]


class AskedClass(Struct, omit_defaults=True):
    """One class of a design: `prompts` are its texts in the templates."""

    name: str
    texts: list[str]
    prompts: list[str]
    sets: list[str]
    attributes: dict[str, str] = {}
    asked: list[str] = []


class AskedDesign(Struct):
    """A class design in full, as `Design.manifest` tells it."""

    name: str
    note: str
    source: str
    sha256: str
    templates: list[str]
    classes: list[AskedClass]

    @staticmethod
    def of(design: Design) -> AskedDesign:
        """The design in the manifest's form."""
        return msgspec.convert(design.manifest(), AskedDesign)

    def design(self) -> Design | None:
        """The design itself; None where it has no classes. InputError where it breaks a rule of designs."""
        return Design.from_manifest(msgspec.to_builtins(self)) if self.classes else None


class SweptDesign(Struct):
    """One design of a sweep."""

    name: str
    sha256: str


class Outcome(Struct, omit_defaults=True):
    """What a probe says of itself beside its records; each probe fills in its own fields."""

    groups: list[str] | None = None  # rates: the groupings, "race*gender"
    sweep: list[SweptDesign] | None = None
    contrast: str | None = None  # labels: the column whose two values are compared
    sides: tuple[str, str] | None = None
    stimuli: dict[str, dict[str, str]] | None = None  # association: of each test and set (x, y, a, b) what it holds
    thresholds: list[Annotated[float, Meta(gt=0, lt=1)]] | None = None
    curve: list[list[Count]] | None = None  # labels of each side at association.curve_thresholds
    notice: str | None = None  # identities
    people: Count | None = None
    candidates: list[Count] | None = None
    feature: str | None = None  # of fitted probes
    C: float | dict[str, float] | None = None
    path: list[Record] | None = None  # of the search for C
    n_train: Count | None = None
    n_validation: Count | None = None
    train: str | None = None  # the fingerprint of the training part
    shots: list[Count] | None = None
    draws: Count | None = None
    drawn: list[str] | None = None  # which images each number of shots has: sha256 over all draws
    prefix: str | None = None  # retrieval
    captions: Count | None = None
    truncated: Count | None = None
    probability: Literal["softmax", "sigmoid"] | None = None  # over all classes, or of each by itself


class DataSettings(Struct):
    """The keys of `config.data` that a report reads."""

    source: str = ""
    split: str = ""


class Settings(Struct):
    """The keys of a run's config that analysis reads; all of it is `Manifest.config`."""

    probe: str
    data: DataSettings = msgspec.field(default_factory=DataSettings)
    method: str = "clopper-pearson"
    level: float = 0.95
    min_n: Count = MIN_N
    seed: int = 0


class Manifest(Struct, omit_defaults=True, kw_only=True):
    """All of manifest.json. `config` is the user's, resolved; `result` is what the probe says of itself.

    `computed_by`: "ingest", where the answers were computed elsewhere and are from the files `ingested`.
    """

    config: dict[str, Any]
    precision: str
    model: Model
    data: Data
    counts: Counts
    design: AskedDesign
    result: Outcome = msgspec.field(default_factory=Outcome)
    computed_by: str = ""
    ingested: list[SourceFile] = []
    arithmetic: str = ""  # what the devices make of the compute dtype
    command: str = ""
    versions: dict[str, str] = {}
    git_revision: str | UnsetType | None = UNSET
    device: dict[str, str] = {}
    mesh: dict[str, Any] = {}

    def to_dict(self) -> dict[str, Any]:
        """What manifest.json holds."""
        found = msgspec.to_builtins(self)
        if not found["result"]:
            del found["result"]
        if self.result.path is not None:
            found["result"]["path"] = [record.to_dict() for record in self.result.path]
        return found
