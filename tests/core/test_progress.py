from supercuts.core.progress import Progress


def test_progress_is_told_the_steps_done_and_all():
    told = []

    def work(progress: Progress) -> None:
        for step in range(3):
            progress(step + 1, 3)

    work(lambda step, of: told.append((step, of)))
    assert told == [(1, 3), (2, 3), (3, 3)]
