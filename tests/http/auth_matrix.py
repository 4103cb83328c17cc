"""Who may call which function, and how: one table, which `test_auth_matrix.py` checks against real processes.

A function, an HTTP method or a kind of caller that is missing here fails `tests/unit/test_auth_matrix.py`.
"""

# For every caller. "caller" means that the response depends on the credential: see CALLERS.
METHODS = """
method       provision  deprovision  health
GET          405        405          405
HEAD         405        405          405
POST         caller     caller       caller
PUT          405        405          405
PATCH        405        405          405
DELETE       405        405          405
TRACE        405        405          405
BREW         405        405          405
OPTIONS      204        204          204
"""

# A POST about a user for whom nothing is due. An operator gets a refusal, a program gets a success.
CALLERS = """
caller                                         kind     provision  deprovision  health
nobody                                         -        401        401          401
garbage in every header                        -        401        401          401
wrong static secret                            -        401        401          401
right static secret with more behind it        -        401        401          401
right static secret in another header          -        401        401          401
right static secret                            static   200        200          200
right static secret and a wrong signature      static   200        200          200
right signature                                webhook  200        200          200
right signature a second time                  webhook  200        200          200
right signature and a wrong static secret      webhook  200        200          200
signature of five minutes ago                  webhook  200        200          200
signature of six minutes ago                   -        401        401          401
signature of six minutes ahead                 -        401        401          401
signature of another body                      -        401        401          401
signature with another id                      -        401        401          401
signature with another time                    -        401        401          401
signature without id                           -        401        401          401
signature without time                         -        401        401          401
signature by another key                       -        401        401          401
signature by the secret as it is written       -        401        401          401
signature of version v1a                       -        401        401          401
signature without version                      -        401        401          401
sixteen signatures, the last one right         webhook  200        200          200
seventeen signatures, the last one right       -        401        401          401
anon key as bearer                             -        401        401          401
publishable key as bearer                      -        401        401          401
secret key as bearer                           -        401        401          401
webhook secret as bearer                       -        401        401          401
static secret as bearer                        -        401        401          401
static secret as basic authorization           -        401        401          401
a machine's user token as bearer               -        401        401          401
an operator's session as bearer                operator 409        200          200
an operator's session of another project       -        401        401          401
an operator's session that is over             -        401        401          401
an operator's session signed by another        -        401        401          401
an operator's session and a wrong signature    operator 409        200          200
a user's session as bearer                     user     403        403          403
a user's session and the right signature       webhook  200        200          200
"""


def read_table(text: str) -> dict[str, dict[str, str]]:
    """The rows by their first column; each is a dict by the other headings. A column begins below its heading."""
    head, *lines = (line for line in text.splitlines() if line)
    names = head.split()
    starts = [head.index(name) for name in names]
    ends = [*starts[1:], None]
    rows = [[line[start:end].strip() for start, end in zip(starts, ends, strict=True)] for line in lines]
    return {row[0]: dict(zip(names[1:], row[1:], strict=True)) for row in rows}
