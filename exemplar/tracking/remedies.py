"""What helps against an error of MLflow's client, as far as its words tell what is wrong."""

import re

from exemplar.errors import one_line

# The first pattern that is found counts. The variables are those of the environment in which a stage runs.
REMEDIES = {
    r"No module named '?([\w.]+)": r"install \1 where the stages run",
    r"(code|^)\s*401\b": "its name or password is not accepted: "
    "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD anew",
    r"(code|^)\s*403\b|PERMISSION_DENIED": "this user may not write there: ask for the right to edit the experiment",
    r"(code|^)\s*413\b": "a proxy before it limits the size of a request: raise that limit",
    r"/logged-models\S* failed with error code 404": "its MLflow is older than 3, without logged models: upgrade it",
    r"(?is)error code (200|3\d\d|4\d\d)\b.*<(!doctype )?html": "a page answers in place of MLflow: "
    "correct its address, or sign in",
    r"database is locked": "another process holds the database, perhaps a stopped one: let it go on or end it",
    r"[Cc]redentials": "give the credentials of its artifact store",
    r"CERTIFICATE_VERIFY_FAILED": "nobody vouches here for its certificate: name a file of those who do in "
    "REQUESTS_CA_BUNDLE",
    r"CA certificate bundle, invalid path": "REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE names a file that is not there: "
    "unset it",
    r"WRONG_VERSION_NUMBER": "it speaks no TLS: its address begins with http://",
    r"ProxyError": "the proxy that the environment names does not serve: correct it, or name the host in NO_PROXY",
    r"Failed to resolve": "no host has this name: correct the address",
    r"Failed to convert .* for (MLFLOW_\w+)": r"correct or unset \1",
    r"filesystem tracking backend|got unsupported URI|Invalid url": "expected an address such as http://host:5000 or "
    "sqlite:////folder/mlflow.db",
}


def remedy(error: BaseException | str) -> str:
    """What helps against an error, empty where its words do not tell that."""
    found = ((re.search(pattern, str(error)), told) for pattern, told in REMEDIES.items())
    return next((match.expand(told) for match, told in found if match), "")


def advised(error: BaseException, *, kept: str) -> str:
    """What an error says, and in brackets what helps against it and what becomes of the operation."""
    return f"{one_line(error)} ({'; '.join(filter(None, (remedy(error), kept)))})"
