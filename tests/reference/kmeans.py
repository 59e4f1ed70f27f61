"""Lloyd's iterations and the choice of real rows, one distance at a time in plain Python."""

Point = list[float]


def squared(a: Point, b: Point) -> float:
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))


def lloyd(points: list[Point], centres: list[Point]) -> list[Point]:
    """Move each centre to the mean of the points that are nearest to it, until none moves."""
    while True:
        own = [min(range(len(centres)), key=lambda p: squared(x, centres[p])) for x in points]
        moved = []
        for p, centre in enumerate(centres):
            mine = [x for x, q in zip(points, own, strict=True) if q == p]
            columns = zip(*mine, strict=True)
            moved.append([sum(c) / len(mine) for c in columns] if mine else centre)
        if all(squared(a, b) < 1e-24 for a, b in zip(moved, centres, strict=True)):
            return moved
        centres = moved


def choose(points: list[Point], centres: list[Point]) -> list[int]:
    """For each centre in turn the nearest point that none before it took."""
    taken: list[int] = []
    for centre in centres:
        free = [i for i in range(len(points)) if i not in taken]
        taken.append(min(free, key=lambda i: squared(points[i], centre)))
    return taken
