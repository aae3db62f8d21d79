"""CSV as programs write it: encodings and delimiters are found or set; what is wrong has its line and its remedy."""

import pytest

from pipeline.core.errors import SourceError, Unusable
from pipeline.ingest.delimited import FEWER, MORE, Delimited, Form
from pipeline.ingest.raw import Reject
from pipeline.ingest.table import TableSource
from tests.support.program import call, failed
from tests.support.settings import write_settings

HEADER = "item_id,image,categories"
REQUIRED = ("item_id", "image")
AS_FOUND = Form()
MARK = "\ufeff"


def written(folder, text, encoding="utf-8"):
    path = folder / "items.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return path


def rows(path, form=AS_FOUND):
    return [
        (line, row.reason if isinstance(row, Unusable) else row) for line, row in Delimited(path, form, REQUIRED).rows()
    ]


def refusal(path, form=AS_FOUND):
    with pytest.raises(SourceError) as refused:
        rows(path, form)
    line = str(refused.value)
    assert line.isprintable() and line.startswith(str(path))
    return line.removeprefix(str(path))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-be with a mark"])
def test_an_encoding_that_the_first_bytes_say_is_read(tmp_path, encoding):
    name, _, marked = encoding.partition(" ")
    path = written(tmp_path, f"{MARK if marked else ''}item_id,image\n1,Café\n2,北京\n", name)
    assert rows(path) == [(2, ["1", "Café"]), (3, ["2", "北京"])]


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16-le", "shift_jis"])
def test_another_encoding_is_refused_with_its_line_and_read_once_it_is_set(tmp_path, encoding):
    word = "ハ" if encoding == "shift_jis" else "é"
    path = written(tmp_path, f"item_id,image\n1,a\n2,Caf{word}\n", encoding)
    line = refusal(path)
    assert "set source.encoding to " in line and (encoding == "utf-16-le" or line.startswith(" line 3: byte 0x"))
    assert rows(path, Form(encoding=encoding))[1] == (3, ["2", f"Caf{word}"])


@pytest.mark.parametrize(
    ("encoding", "content", "said"),
    [
        ("ascii", "item_id,image\n1,é\n".encode(), "line 2: byte 0xc3 is not ASCII: set source.encoding to auto"),
        ("auto", "item_id,image\n1,a\n".encode("utf-16") + b"\0", "line 3: byte 0x00 is not UTF-16"),
        ("auto", b"item_id,image\n" * 200_000 + b"\xe9", "line 200001: byte 0xe9 is not UTF-8: set source.encoding"),
        ("auto", b"item_id,image\n1,\xe4\xb8", "line 2: byte 0xe4 is not UTF-8"),
    ],
    ids=["set", "cut", "far down", "cut character"],
)
def test_bytes_that_are_not_of_the_encoding_have_their_line(tmp_path, encoding, content, said):
    assert said in refusal(written(tmp_path, content), Form(encoding=encoding))


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_the_one_that_the_header_is_written_with(tmp_path, delimiter):
    text = (
        'title,in words,item_id,image\n"a, b","c;d",1,x\n'.replace(",", delimiter)
        if delimiter != ","
        else ('"title;a;b;c",item_id,image\n"x, y",1,x\n')
    )
    (_, fields) = rows(written(tmp_path, text))[0]
    assert fields[-2:] == ["1", "x"]


def test_a_delimiter_that_is_set_is_used_and_a_wrong_one_told(tmp_path):
    path = written(tmp_path, "item_id;image\n1;a,b\n")
    assert rows(path, Form(delimiter=";")) == [(2, ["1", "a,b"])]
    line = refusal(path, Form(delimiter=","))
    assert "no column item_id, image" in line and "looks like a semicolon: set source.delimiter to auto" in line


def test_a_row_of_another_width_is_left_out_with_its_line_and_blank_lines_are_none(tmp_path):
    path = written(tmp_path, "\nitem_id,image\n1,a\n\n2,b,c\n3\n4,\n")
    assert rows(path) == [(3, ["1", "a"]), (5, MORE), (6, FEWER), (7, ["4", ""])]


def test_a_field_of_several_lines_counts_all_of_them(tmp_path):
    path = written(tmp_path, 'item_id,image\r\n1,"a ""b""\r\nc"\r\n2,b\r\n3,5" wide\r\n4,"b"c\r\n5,d\r\n')
    expected = [(2, ["1", 'a "b"\nc']), (4, ["2", "b"]), (5, ["3", '5" wide'])]
    assert rows(path) == [*expected, (6, "a quote inside a quoted field: double it"), (7, ["5", "d"])]


@pytest.mark.parametrize(
    "rest",
    ["3,c\n4,d\n", '3,"c"\n4,d\n', "3,c\n" * 100_000, '3,c","\n'],
    ids=["to the end", "to the next quote", "for long", "to a quote that ends another row"],
)
def test_a_quote_that_is_left_open_is_refused_with_the_line_where_it_stands(tmp_path, rest):
    line = refusal(written(tmp_path, f'item_id,image\n1,a\n2,"b\n{rest}'))
    assert line.startswith(" line 3: a quote is opened in this row and not closed")


def test_a_table_names_file_line_field_and_value_of_what_it_refuses(tmp_path):
    written(tmp_path, "item_id;image;categories\n1;a;Hats;Ties\n;a;Hats\n2;a;Hats\n")
    (tmp_path / "purchases.csv").write_text("user_id\titem_id\ttime\nu\t2\tsoon\n")
    source = TableSource(tmp_path)
    assert list(source.items())[:2] == [
        Reject("item", "", MORE, "items.csv", 2, "", "1;a;Hats;Ties"),
        Reject("item", "", "no item_id", "items.csv", 3, "item_id"),
    ]
    (purchase,) = source.purchases()
    assert (purchase.file, purchase.line, purchase.field, purchase.value) == ("purchases.csv", 2, "time", "soon")


def test_too_many_refusals_name_the_first_of_each_reason_and_the_settings_reach_the_reader(project):
    written(project, "item_id;image;categories\n1;Café;Hats\n2;a;Hats;Ties\n3;b\n", "latin-1")
    (project / "purchases.csv").write_text("user_id;item_id;time\nu;2;1\n")
    source = {"source.name": "table", "source.path": "."}
    failed(call(project, *write_settings(project / "params.yaml", source), "ingest"), "line 2", "source.encoding")
    words = write_settings(project / "params.yaml", {**source, "source.encoding": "latin-1", "source.delimiter": ";"})
    said = failed(call(project, *words, "ingest"), "2 of 3 items cannot be used")
    assert f"1 {MORE} (first: items.csv line 3)" in said and f"1 {FEWER} (first: items.csv line 4)" in said


@pytest.mark.parametrize("setting", [{"source.encoding": "utf8000"}, {"source.delimiter": "::"}])
def test_a_form_that_there_is_not_is_refused_with_the_settings(project, setting):
    name = next(iter(setting))
    failed(call(project, *write_settings(project / "params.yaml", setting), "ingest"), f"{name}: input should be")
