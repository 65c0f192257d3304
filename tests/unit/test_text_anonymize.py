"""Personal data found by its form, replaced in five ways, and led back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardkit.errors import InputError
from guardkit.text.anonymize import Mode, anonymize, vault_of
from guardkit.text.identifiers import find
from guardkit.vault import Vault

# Sources: RFC 2606 and 5737 names and addresses, 555-01xx numbers, card networks' test numbers, the IBAN
# registry's examples, python-stdnum's documented examples. Secrets are made up in their issuers' form.
FOUND = [
    ("write to ada.lovelace+x@example.org today", "EMAIL", "ada.lovelace+x@example.org"),
    ("see https://example.org/a?b=c.", "URL", "https://example.org/a?b=c"),
    ("go to www.example.org, please", "URL", "www.example.org"),
    ("ping 192.0.2.17 now", "IP", "192.0.2.17"),
    ("ping 2001:db8::1 now", "IP", "2001:db8::1"),
    ("call +44 20 7946 0958", "PHONE", "+44 20 7946 0958"),
    ("call (415) 555-2671 tonight", "PHONE", "(415) 555-2671"),
    ("pay with 4111 1111 1111 1111", "CARD", "4111 1111 1111 1111"),
    ("to DE89 3704 0044 0532 0130 00", "IBAN", "DE89 3704 0044 0532 0130 00"),
    ("my ssn is 536-90-4399", "NATIONAL_ID", "536-90-4399"),
    ("cpf 390.533.447-05", "NATIONAL_ID", "390.533.447-05"),
    ("dni 54362315K", "NATIONAL_ID", "54362315K"),
    ("codice RCCMNL83S18D969H", "NATIONAL_ID", "RCCMNL83S18D969H"),
    ("nhs number 943 476 5870", "NATIONAL_ID", "943 476 5870"),
    ("passport no. X1234567", "PASSPORT", "X1234567"),
    ("she was born on 3 March 1984", "BIRTH_DATE", "3 March 1984"),
    ("dob: 03/04/1984", "BIRTH_DATE", "03/04/1984"),
    ("at 48.8584, 2.2945 in fog", "COORDINATES", "48.8584, 2.2945"),
    ("a car, licence plate AB12 CDE", "LICENCE_PLATE", "AB12 CDE"),
    ("a post by @ada_l", "HANDLE", "@ada_l"),
    ("key AKIAIOSFODNN7EXAMPLE", "SECRET", "AKIAIOSFODNN7EXAMPLE"),
    ("password: hunter2hunter", "SECRET", "hunter2hunter"),
    ("answering at 78 651 450", "PHONE", "78 651 450"),
    ("Phone:\n60-56-85-91", "PHONE", "60-56-85-91"),
    ("166-684-7899 office", "PHONE", "166-684-7899"),
    ("a sign, (37) 788-063, on a wall", "PHONE", "(37) 788-063"),
    ("phone 791-718-6252x7601", "PHONE", "791-718-6252x7601"),
    ("at 8 Claire Prairie, New Allanton, S6 3DX.", "ADDRESS", "8 Claire Prairie, New Allanton, S6 3DX"),
    ("from 12 Elm Street in fog", "ADDRESS", "12 Elm Street"),
    ("at 221b baker street, London NW1 6XE", "ADDRESS", "221b baker street, London NW1 6XE"),
    ("12 Elm St., Springfield, IL 62704 please", "ADDRESS", "12 Elm St., Springfield, IL 62704"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "kind", "value"), FOUND, ids=[f"{k}-{n}" for n, (_, k, _) in enumerate(FOUND)]
)
def test_data_with_a_form_is_found(text: str, kind: str, value: str) -> None:
    assert [(one.kind, text[one.start : one.end]) for one in find(text)] == [(kind, value)]


@pytest.mark.parametrize(
    "text",
    [
        "a harbour at dawn, 35mm, f/1.8, 8k",
        "5 people on a busy street",
        "2 dogs in the road",
        "a 1920s street, 4 vintage cars",
        "version 1.2.3.4000 of it",
        "4111 1111 1111 1112",  # its checksum is wrong
        "DE89 3704 0044 0532 0130 01",
        "aspect ratio 16:9, seed 123456789012",
        "lottery numbers 12 24 36 48",
        "photo of a hostess 3175 3060 96.38% walking a dog",
        "a phone on a table, 1920x1080",
        "--ar 3:2 --v 5.2 --s 750",
        "10:30:15 in the morning",
        "a passport on a table",
        "born to run",
        "@ the beach",
    ],
)
def test_what_only_looks_like_it_is_not(text: str) -> None:
    assert find(text) == []


def test_of_two_that_overlap_the_stated_one_stays() -> None:
    text = "https://example.org/?mail=ada@example.org"
    assert [one.kind for one in find(text)] == ["URL"]


TEXT = "Mail ada@example.org or +44 20 7946 0958, again ada@example.org."


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (Mode.PLACEHOLDER, "Mail <EMAIL_1> or <PHONE_1>, again <EMAIL_1>."),
        (Mode.GENERIC, "Mail an e-mail address or a phone number, again an e-mail address."),
        (Mode.MASK, "Mail *************** or *** ** **** ****, again ***************."),
    ],
)
def test_each_mode_puts_its_own_there(mode: Mode, expected: str) -> None:
    assert anonymize(TEXT, find(TEXT), mode)[0] == expected


def test_an_address_takes_its_preposition_along() -> None:
    text = "Image of a woman from 12 Elm Street in the rain"
    assert anonymize(text, find(text), Mode.GENERIC)[0] == "Image of a woman in the rain"


def test_equal_data_has_equal_hashes_under_one_key_alone() -> None:
    text = "ada@example.org ada@example.org"
    first, second = anonymize(text, find(text), Mode.HASH, key=b"one")[0].split()
    other = anonymize(text, find(text), Mode.HASH, key=b"two")[0].split()[0]
    assert first == second != other
    assert "ada" not in first


def test_a_placeholder_in_the_text_is_not_given_out_again() -> None:
    text = "<EMAIL_1> and ada@example.org"
    edited, _, originals = anonymize(text, find(text), Mode.PLACEHOLDER)
    assert edited == "<EMAIL_1> and <EMAIL_2>"
    assert vault_of(originals, Mode.PLACEHOLDER).restore(edited) == text


def test_a_conversation_keeps_its_placeholders() -> None:
    first = "I am ada@example.org"
    _, _, originals = anonymize(first, find(first), Mode.PLACEHOLDER)
    later = "bob@example.org wrote to ada@example.org"
    edited, _, both = anonymize(later, find(later), Mode.PLACEHOLDER, before=originals)
    assert edited == "<EMAIL_2> wrote to <EMAIL_1>"
    assert vault_of(both, Mode.PLACEHOLDER).restore(edited) == later


@pytest.mark.parametrize("mode", [Mode.GENERIC, Mode.MASK, Mode.HASH])
def test_a_one_way_vault_says_so(mode: Mode) -> None:
    _, _, originals = anonymize(TEXT, find(TEXT), mode)
    assert originals == {}
    vault = vault_of(originals, mode)
    with pytest.raises(InputError, match="one-way"):
        vault.restore("x")


def test_an_expired_vault_restores_nothing() -> None:
    now = 100.0
    vault = Vault({"<EMAIL_1>": "ada@example.org"}, lifetime_s=60, clock=lambda: now)
    assert vault.restore("<EMAIL_1>") == "ada@example.org"
    now = 160.0
    with pytest.raises(InputError, match="expired"):
        vault.restore("<EMAIL_1>")
    assert "ada" not in repr(vault)
    assert len(vault) == 0


def test_a_vault_of_another_conversation_restores_nothing() -> None:
    vault = Vault({"<EMAIL_1>": "ada@example.org"}, conversation="a")
    assert vault.restore("<EMAIL_1>", conversation="a") == "ada@example.org"
    for other in ("b", None):
        with pytest.raises(InputError, match="another conversation"):
            vault.restore("<EMAIL_1>", conversation=other)


PIECES = st.lists(
    st.one_of(
        st.sampled_from([value for _, _, value in FOUND]),
        st.sampled_from(
            ["<EMAIL_1>", "<PHONE_2>", " ", ", ", "<", ">", "from ", "👩‍🚀 ", "é̂", "שלום "]
        ),
        st.text(max_size=6),
    ),
    max_size=8,
).map(" ".join)


@given(PIECES, st.sampled_from([Mode.PLACEHOLDER, Mode.SURROGATE]))
def test_restoring_gives_back_every_text(text: str, mode: Mode) -> None:
    edited, _, originals = anonymize(text, find(text), mode)
    assert vault_of(originals, mode).restore(edited) == text


@given(PIECES, st.sampled_from(list(Mode)))
def test_text_outside_the_ranges_stays_as_it_is(text: str, mode: Mode) -> None:
    edited, edits, _ = anonymize(text, find(text), mode)
    at = old = 0
    for edit in edits:
        kept = text[old : edit.start]
        assert edited[at : at + len(kept)] == kept
        at += len(kept) + len(edit.replacement)
        old = edit.end
    assert edited[at:] == text[old:]


@given(PIECES)
def test_a_second_time_changes_nothing(text: str) -> None:
    once, _, _ = anonymize(text, find(text), Mode.PLACEHOLDER)
    assert anonymize(once, find(once), Mode.PLACEHOLDER)[0] == once
