"""Real key formats are found, documents that merely speak of keys are not, contacts are counted once.

Every secret is put together here at run time, so that no file of the repository holds one.
"""

import base64
import json

import pytest

from data.screening import count_contacts, find_secrets
from data.workspace import PROJECT_ROOT

COLLECTION = PROJECT_ROOT / "data" / "streams" / "site-policy" / "2024-06-01"
MIXED = "aB3dE6gH9" * 10


def _token() -> str:
    parts = ({"alg": "HS256", "typ": "JWT"}, {"sub": "1234", "name": "Somebody"})
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*encoded, MIXED[:43]])


SECRETS = {
    "AWS Access Key": "AK" + "IA" + "Q3EGTR7XWP5ZJ2LM",
    "Anthropic API Key": "sk-" + "ant-api03-" + MIXED[:88],
    "Artifactory Credentials": "key = AK" + "Cp8" + MIXED[:40],
    "Azure Storage Account access key": "Account" + "Key=" + MIXED[:86] + "==",
    "Basic Auth Credentials": "https://robot:" + "s3cr3t" + "value@registry.test/simple",
    "GitHub Token": "gh" + "p_" + MIXED[:36],
    "GitLab Token": "gl" + "pat-" + MIXED[:20],
    "Google API Key": "AI" + "za" + MIXED[:35],
    "Hugging Face Token": "h" + "f_" + "aBcDeFgHiJkLmNoPq" * 2,
    "JSON Web Token": _token(),
    "NPM tokens": "//registry.npmjs.org/:_auth" + "Token=npm" + "_" + MIXED[:36],
    "OpenAI Token": "s" + "k-" + MIXED[:20] + "T3Blbk" + "FJ" + MIXED[:20],
    "Private Key": "-----BEGIN RSA " + "PRIVATE KEY-----",
    "PyPI Token": "py" + "pi-AgEIcHlwaS5vcmc" + MIXED[:75],
    "SendGrid API Key": "S" + "G." + MIXED[:22] + "." + MIXED[:43],
    "Slack Token": "xo" + "xb-123456789012-" + "a1b2c3d4e5f6",
    "Stripe Access Key": "sk_" + "live_" + MIXED[:24],
}


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_amid_prose_is_found_and_named(name: str) -> None:
    text = f"# Access\n\nThe robot signs in with this:\n\n{SECRETS[name]}\n\nKeep it to yourself.\n"
    assert name in find_secrets(text)


def test_the_younger_forms_of_known_secrets_are_found() -> None:
    fine_grained = "github" + "_pat_" + MIXED[:22] + "_" + MIXED[:59]
    encrypted = "-----BEGIN ENCRYPTED " + "PRIVATE KEY-----"
    assert find_secrets(f"{fine_grained}\n{encrypted}") == ("GitHub Token", "Private Key")


def test_no_real_policy_is_taken_for_a_secret() -> None:
    documents = sorted(COLLECTION.rglob("*.md"))
    assert len(documents) == 52
    flagged = {path.name for path in documents if find_secrets(path.read_text(encoding="utf-8"))}
    assert flagged == set()


def test_a_public_key_is_no_secret() -> None:
    path = COLLECTION / "security-policies" / "github-sirt-description-rfc-2350.md"
    text = path.read_text(encoding="utf-8")
    assert "BEGIN PGP PUBLIC KEY BLOCK" in text
    assert find_secrets(text) == ()
    assert find_secrets(text.replace("PUBLIC", "PRI" + "VATE")) == ("Private Key",)


@pytest.mark.parametrize(
    "text",
    [
        "Your password and your API key are secret; the secret key is never shown again.",
        "Clone from https://user:password@host.test, https://user:${TOKEN}@host.test or https://u:<token>@host.",
        "The manual uses AK" + "IAIOSFODNN7EXAMPLE throughout.",
        "SHA-256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08, server 140.82.121.4",
        "ALL USERS SHALL BE TREATED APERIODICALLY AND FAIRLY.",
    ],
)
def test_prose_placeholders_and_digests_are_no_secrets(text: str) -> None:
    assert find_secrets(text) == ()


@pytest.mark.parametrize(
    ("text", "contacts"),
    [
        ("Write to <help@example.com> or [privacy](mailto:privacy@example.com).", 2),
        ("help@example.com, HELP@example.com and help@example.com.", 1),
        ("Call +1 415 842 2837 or +44 (0)20 7946 0958.", 2),
        ("Call (415) 842-2837, that is 415-842-2837.", 1),
        ("On 2024-06-01, 10-14 days, $1,000,000, ISO 27001, 127.0.0.1, 12345678901234567890.", 0),
        ("See the tree at enterprise-cloud@latest and follow @octocat.", 0),
        ("a@" * 20_000, 0),
        ("+1" * 20_000, 0),
    ],
)
def test_different_contacts_are_counted(text: str, contacts: int) -> None:
    assert count_contacts(text) == contacts
