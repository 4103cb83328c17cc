"""All planted bugs: the readable list is in the two modules named here."""

from tests.mutants import in_python, in_sql

MUTANTS = (*in_python.MUTANTS, *in_sql.MUTANTS)
