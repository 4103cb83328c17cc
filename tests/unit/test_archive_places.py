"""Where else the archive of an installation is."""

from types import SimpleNamespace

from ops.archive.places import list_other_places

FORMER, COPY = "11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222"


def test_a_copy_with_an_id_of_its_own_names_one_place():
    """docs/operating.md gives a copy of the database a new id. Its former batches keep the names of their objects."""
    batches = [
        {
            "id": str(nr),
            "source": "events",
            "state": "deleted",
            "object": f"hangar/{FORMER}/events/{nr:019}-{nr:019}.jsonl.gz",
            "bucket": "https://s3.example.test/b",
            "rows": 10,
            "content_sha256": "",
            "object_sha256": "",
            "first_seq": str(nr),
            "last_seq": str(nr),
            "installation_id": COPY,
        }
        for nr in range(3)
    ]
    location = SimpleNamespace(address="https://s3.example.test/b", prefix="hangar/")
    [place] = list_other_places(batches, location)
    assert (place["bucket"], place["rows"]) == (location.address, 30)
