"""The page of a comparison: data for `comparison.html.j2`, and the page."""

import dataclasses
import pathlib

from trainer import __version__
from trainer.comparison.formats import printable
from trainer.gallery import templates
from trainer.pictures import charts, png

_TEMPLATES = templates.environment(pathlib.Path(__file__).parent)
_WIDE, _NARROW = (8.75, 3.4), (3.7, 3.2)


def render(comparison):
    """Returns the page of a `Comparison`, an HTML document."""
    folder = _common_folder([job.name for job in comparison.jobs])
    # Where a page is narrow, what all names begin with is in the way.
    comparison = dataclasses.replace(
        comparison,
        jobs=tuple(
            dataclasses.replace(job, name=printable(job.name[len(folder) :]))
            for job in comparison.jobs
        ),
    )
    jobs = comparison.jobs
    table = [comparison.titles, *map(comparison.texts, jobs)]
    count = 1 + len(comparison.columns)
    return _TEMPLATES.get_template("comparison.html.j2").render(
        title=f"{len(jobs)} jobs" if len(jobs) > 1 else "1 job",
        folder=printable(folder),
        outcome=_table(table, 1, count),
        settings=_table(table, count, len(table[0])),
        notes=list(map(printable, comparison.notes)),
        curves=list(_curves(jobs)),
        reconstructions=list(_reconstructions(jobs)),
        samples=[
            _picture(job.name, "samples", job.pictures.samples)
            for job in jobs
            if job.pictures and job.pictures.samples is not None
        ],
        without=[
            job.name
            for job in jobs
            if not job.pictures or job.pictures.samples is None
        ],
        schemes={name: scheme.many for name, scheme in charts.SCHEMES.items()},
        version=__version__,
    )


def _table(table, start, end):
    """Returns some columns of a table after that of the jobs; None of none."""
    if start == end:
        return None
    titles, *rows = ([row[0], *map(printable, row[start:end])] for row in table)
    return {"titles": titles, "rows": rows}


def _common_folder(names):
    """Returns the folder of all names, with its slash; "" if there is none."""
    folder, *others = {name.rpartition("/")[0] for name in names}
    return f"{folder}/" if folder and not others else ""


def _curves(jobs):
    """Yields a chart for each kind of loss, with the jobs that have it."""
    kinds = {}
    for number, job in enumerate(jobs):
        if job.held_out:
            kinds.setdefault(job.kind, []).append((number, job))
    for kind, members in kinds.items():
        series = [(_points(job), number) for number, job in members]
        name, loss, beta, _, condition = kind
        given = "" if condition == "none" else f", given {condition}"
        yield {
            "title": printable(f"{name}, {loss}, beta {beta:g}{given}"),
            "alt": "Held-out losses of "
            + "; ".join(
                f"{job.name}: {job.held_out[0]['total_loss']:.4g} "
                f"first, {job.held_out[-1]['total_loss']:.4g} last"
                for _, job in members
            ),
            "jobs": [
                {
                    "name": job.name,
                    "color": number % len(charts.SCHEMES["light"].many),
                    "dashes": " ".join(map(str, _dashes(number))),
                }
                for number, job in members
            ],
            **{
                f"{name}_{size}": templates.address(
                    "svg+xml",
                    charts.to_svg(
                        charts.curves(series, scheme, inches, "images seen")
                    ),
                )
                for name, scheme in charts.SCHEMES.items()
                for size, inches in (("wide", _WIDE), ("narrow", _NARROW))
            },
        }


def _points(job):
    return [
        (row["step"] * job.batch_size, row["total_loss"])
        for row in job.held_out
    ]


def _dashes(number):
    turn = number // len(charts.SCHEMES["light"].many)
    return charts.DASHES[turn % len(charts.DASHES)]


def _reconstructions(jobs):
    """Yields the same test images, and what each job makes of them."""
    groups = {}
    for job in jobs:
        found = job.pictures
        if found and found.originals is not None:
            originals = found.originals
            same = (originals.shape, originals.tobytes())
            groups.setdefault(same, []).append(job)
    for members in groups.values():
        originals = members[0].pictures.originals
        yield [
            _picture("test images", "test images", originals),
            *(
                _picture(
                    job.name,
                    "reconstructions",
                    job.pictures.reconstructions,
                )
                for job in members
            ),
        ]


def _picture(name, what, pixels):
    return {
        "name": name,
        "source": templates.address("png", png.encode(pixels)),
        "alt": name if name == what else f"{name}: {what}",
    }
