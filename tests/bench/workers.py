"""Workers for the harness's own test: standard library only, as a peer's environment may hold nothing else."""


def burn(million: float, noisy: bool = False, memory: int = 0):
    def one_round():
        if noisy:
            print("a library that prints")
        kept = b"x" * memory
        total = sum(range(int(million * 1_000_000)))
        return {"work": 2.0, "value": [total, len(kept)]}

    return one_round


def fail():
    def one_round():
        raise ArithmeticError("the worker's own words")

    return one_round


def fail_to_start():
    raise ArithmeticError("no set-up")


def silent():
    def one_round():
        import time

        time.sleep(60)

    return one_round
