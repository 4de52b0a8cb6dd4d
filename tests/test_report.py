"""What a generator says of its mapper: a table, and a sentence for each warning."""
import pandas as pd
import pytest

from tsai_nmvq.mapper_selection import MIN_HOLDOUT, MapperSelection
from tsai_nmvq.report import MapperReport


def report(index=('all',), **columns):
    found = dict(holdout=100, FID_before=0.5, FID_after=0.25, sharpness_before=1., sharpness_after=1.) | columns
    return MapperReport(MapperSelection.from_table(pd.DataFrame(found, list(index))))


def test_of_a_mapper_that_helps_nothing_is_said():
    found = report(['all', 'a', 'b'], holdout=[100, 50, 50])
    assert found.use_mapper and found.skipped_classes == () and found.warnings == []
    assert repr(found) == found.table.to_string()


def test_what_a_selection_decided_is_handed_on():
    found = report(['all', 'a', 'b'], holdout=[100, 50, 50], FID_after=[0.25, 0.9, 0.2])
    assert found.table is found.selection.table
    assert (found.use_mapper, found.skipped_classes) == (True, ('a',))


def test_nothing_known_is_said(): # too few series to hold any out
    found, = MapperReport(MapperSelection()).warnings
    assert found == (f"The training split is too small to hold {MIN_HOLDOUT} series out: "
                     "whether the mapper helps is not known.")
    assert repr(MapperReport(MapperSelection())) == found
    assert MapperReport(MapperSelection()).use_mapper and 'not known' in MapperReport(MapperSelection())._repr_html_()


@pytest.mark.parametrize('columns, sentence', [
    (dict(FID_after=0.75), "The mapper makes samples worse (FID 0.5 before, 0.75 after it): it is left out."),
    (dict(FID_after=0.4999), "The mapper changes the samples by no more than chance, on 100 series held out from it "
                             "(FID 0.5 before, 0.5 after it): it is left out."),
    (dict(holdout=6, FID_after=0.48, FID_learnt_before=2., FID_learnt_after=1.),
     "6 series held out cannot tell (FID 0.5 before, 0.48 after it): the mapper is used for what it gains on series "
     "that it has learnt (2 before, 1 after it)."),
    (dict(sharpness_before=1.204, sharpness_after=0.696),
     "Samples are blurred: 0.70 of the high-frequency energy of real series, 1.20 before the mapper."),
])
def test_sentences_of_all_series(columns, sentence): assert report(**columns).warnings == [sentence]


def test_what_is_left_out_is_not_called_blurred(): assert len(report(FID_after=0.75, sharpness_after=0.1).warnings) == 1


def test_a_sentence_for_each_class_that_is_skipped():
    found = report(['all', 'a', 3, 'c'], holdout=[150, 50, 50, 50], FID_after=[0.25, 0.9, 1.23456, 0.2])
    assert found.warnings == [
        "The mapper makes class 'a' worse (FID 0.5 before, 0.9 after it): it is left out there.",
        "The mapper makes class 3 worse (FID 0.5 before, 1.23 after it): it is left out there."]


@pytest.mark.parametrize('n_few, named', [
    (1, "'a'"), (5, "'a', 'b', 'c', 'd', 'e'"), (6, "'a', 'b', 'c', 'd', 'e' and 1 more"),
    (8, "'a', 'b', 'c', 'd', 'e' and 3 more")])
def test_classes_with_few_series_are_named_up_to_five(n_few, named):
    found = report(['all', *'abcdefgh'], holdout=[100, *[9] * n_few, *[10] * (8 - n_few)])
    assert found.warnings == [f"Fewer than 10 series are held out of {named}: these classes go by the whole."]


def test_it_prints_its_table_and_its_warnings():
    found = report(['all', '<b>', 'c'], holdout=[100, 50, 50], FID_after=[0.4, 0.7654321, 0.2])
    lines = repr(found).splitlines()
    assert lines[0].split() == list(found.table.columns) and len(lines) == 5
    assert '0.7654 ' in lines[2] and lines[4] == found.warnings[0]
    html = found._repr_html_()
    assert '<table' in html and 'left out there' in html and '<b>' not in html


def test_a_mapper_that_is_left_out_prints_it():
    found = report(FID_after=0.75)
    assert 'FID_before' in repr(found) and found.warnings[0] in repr(found)
    assert '<table' in found._repr_html_() and 'left out' in found._repr_html_()
