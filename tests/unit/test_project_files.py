"""The two files of the operator's folder, as editors, shells and Windows leave them."""

import subprocess

import pytest

from ops.project_files import ProjectFileError, add_to_env_file, hold_folder, read_env_file, read_project_file


@pytest.fixture
def env_file(tmp_path):
    def write(content):
        path = tmp_path / ".env.hangar"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


READ = [
    "NAME=value\r\n",
    "\ufeffNAME=value\n",
    "export\tNAME=value\n",
    "export   NAME=value\n",
    "NAME='value'\n",
    'NAME="value"   # why\n',
    "NAME='value' # it's\n",
    "NAME=value # why\n",
    "NAME=value\t#why\n",
    "NAME=first\nNAME=value\n",
]


@pytest.mark.parametrize("content", READ)
def test_a_line_is_read_as_the_shell_reads_it(env_file, content):
    path = env_file(content)
    assert read_env_file(path) == {"NAME": "value"}
    plain = env_file(content.removeprefix("\ufeff").replace("\r", ""))
    shell = subprocess.run(["/bin/sh", "-c", f'. {plain} && printf %s "$NAME"'], capture_output=True, check=True)
    assert shell.stdout == b"value"


def test_a_hash_without_a_space_before_it_is_part_of_the_value(env_file):
    assert read_env_file(env_file("A=x#y\nB='x # y'\nC=\nD= # nothing\n")) == {
        "A": "x#y",
        "B": "x # y",
        "C": "",
        "D": "",
    }


def test_a_value_with_a_line_separator_of_unicode_is_read_as_it_was_written(env_file):
    path = env_file("")
    values = {"NAME": "a\u2028b\x85c # d"}
    add_to_env_file(values, path)
    assert read_env_file(path) == values


def test_of_two_lines_with_one_name_the_one_that_counts_is_changed(env_file):
    """The first line was changed before, and the command that had written the new value read the old one back."""
    path = env_file("\ufeffexport\tNAME=first # why\nOTHER=kept\nNAME=second\n")
    add_to_env_file({"NAME": "third", "NEW": "x"}, path)
    assert read_env_file(path) == {"NAME": "third", "OTHER": "kept", "NEW": "x"}


REFUSED = [
    (b"GOOD=1\nNAME='canary\n", "line 2: the value of NAME has a quote at one end only"),
    (b"NAME = canary\n", "line 1: expected NAME=value with a name in capital letters and no space before the ="),
    ("NAME=canary\n".encode("utf-16"), "is not text in UTF-8. Save it again with that encoding"),
]


@pytest.mark.parametrize(("content", "says"), REFUSED)
def test_what_cannot_be_read_is_named_without_the_value_and_not_changed(env_file, content, says):
    path = env_file(content)
    with pytest.raises(ProjectFileError, match=says) as error:
        read_env_file(path)
    assert "canary" not in str(error.value)
    assert path.read_bytes() == content


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path):
    for read in (read_env_file, read_project_file):
        with pytest.raises(ProjectFileError, match="cannot be read: Is a directory"):
            read(tmp_path)


def test_a_project_file_of_windows_is_read(tmp_path):
    path = tmp_path / "hangar.toml"
    path.write_bytes('\ufeff[backend]\r\nimage = "acme/app:1"\r\n'.encode())
    assert read_project_file(path) == {"backend": {"image": "acme/app:1"}}
    path.write_bytes("[backend]\n".encode("utf-16"))
    with pytest.raises(ProjectFileError, match="is not text in UTF-8"):
        read_project_file(path)


def test_a_folder_that_is_gone_is_named(tmp_path):
    with pytest.raises(ProjectFileError, match="this folder cannot be read"), hold_folder(tmp_path / "gone"):
        pass
