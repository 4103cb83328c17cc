"""The parts of an installation on Google Cloud Run: where it goes, what each part is called, and what exists of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ops.deploy.common import FUNCTIONS
from ops.deploy.image_source import ImageSource


@dataclass(frozen=True)
class CloudRunOptions:
    """Where the functions go. `image` replaces the image that is built from the source."""

    project: str
    region: str
    name: str = "hangar"
    image: str | None = None


@dataclass(frozen=True)
class SecretState:
    """One secret of Secret Manager: the newest version number ever, whether it holds our value, and who reads it."""

    newest: int = 0
    is_current: bool = False
    readers: frozenset[str] = frozenset()


@dataclass(frozen=True)
class ServiceState:
    """One service: whether it is ready and public, and what it was deployed from."""

    is_ready: bool
    is_public: bool
    env: Mapping[str, str]


@dataclass(frozen=True)
class JobState:
    """One job of Cloud Scheduler, as far as Hangar sets it."""

    schedule: str
    url: str
    body: str
    secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class CloudRunState:
    """What exists in the project. Without gcloud, in a dry run, nothing is known."""

    project_number: str = "PROJECT_NUMBER"
    apis: frozenset[str] = frozenset()
    accounts: frozenset[str] = frozenset()
    has_repository: bool = False
    has_image: bool = False
    may_build: bool = False
    secrets: Mapping[str, SecretState] = field(default_factory=dict)
    services: Mapping[str, ServiceState] = field(default_factory=dict)
    jobs: Mapping[str, JobState] = field(default_factory=dict)


def name_services(options: CloudRunOptions) -> dict[str, str]:
    """The service of each function."""
    return {function: f"{options.name}-{function}" for function in FUNCTIONS}


def name_secret(options: CloudRunOptions, setting: str) -> str:
    """The secret that holds this setting."""
    return f"{options.name}-{setting.removeprefix('HANGAR_').lower().replace('_', '-')}"


def name_account(options: CloudRunOptions, function: str) -> str:
    """The service account that this function runs as."""
    return f"{options.name}-{function}@{options.project}.iam.gserviceaccount.com"


def name_builder(state: CloudRunState) -> str:
    """The account that Cloud Build uses by default."""
    return f"{state.project_number}-compute@developer.gserviceaccount.com"


def find_urls(options: CloudRunOptions, state: CloudRunState) -> dict[str, str]:
    """The address of each function. It is made of name, project number and region, so it is known before the first deployment."""
    return {
        function: f"https://{service}-{state.project_number}.{options.region}.run.app"
        for function, service in name_services(options).items()
    }


def name_image(options: CloudRunOptions, source: ImageSource | None) -> str:
    """The image of the functions: the given one, else the one that is built."""
    if options.image:
        return options.image
    if source is None:
        raise ValueError("without a source there must be an image")
    return f"{image_path(options)}:{source.tag}"


def image_path(options: CloudRunOptions) -> str:
    """The image without a tag."""
    return f"{options.region}-docker.pkg.dev/{options.project}/{options.name}/hangar"
