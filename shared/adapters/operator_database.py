"""All procedures, for the dashboard and the command line; other functions import only what they call, to start faster."""

from shared.adapters.procedures import Database
from shared.adapters.procedures_adoption import AdoptionProcedures
from shared.adapters.procedures_archive import ArchiveProcedures
from shared.adapters.procedures_command_line import CommandLineProcedures
from shared.adapters.procedures_credentials import CredentialProcedures
from shared.adapters.procedures_dashboard import DashboardProcedures
from shared.adapters.procedures_migration import MigrationProcedures
from shared.adapters.procedures_operator import OperatorProcedures
from shared.adapters.procedures_release_operator import ReleaseOperatorProcedures
from shared.adapters.procedures_release_pages import ReleasePageProcedures


class OperatorDatabase(
    Database,
    OperatorProcedures,
    ReleaseOperatorProcedures,
    CredentialProcedures,
    DashboardProcedures,
    MigrationProcedures,
    ReleasePageProcedures,
    CommandLineProcedures,
    ArchiveProcedures,
    AdoptionProcedures,
):
    """The procedures by name and type, those for operators included."""
