"""All planted bugs: the readable list is in the modules named here."""

from tests.mutants import in_dashboard, in_operators, in_python, in_security, in_sql

MUTANTS = (*in_python.MUTANTS, *in_sql.MUTANTS, *in_security.MUTANTS, *in_operators.MUTANTS, *in_dashboard.MUTANTS)
