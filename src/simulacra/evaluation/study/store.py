"""Answers in SQLite: appended, never changed, on the disk before the rater is told so; and what is refused.

Write-ahead log with synchronous=FULL: a commit survives ``kill -9`` and a power cut. Triggers forbid UPDATE and
DELETE. A rater is a number and the SHA-256 of a random token; of time only the day is kept.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import os
import secrets
import sqlite3
import threading
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

from simulacra.evaluation.study.designs import Timed
from simulacra.evaluation.study.protocol import Study
from simulacra.evaluation.study.trials import Trial

NAME = "answers.sqlite"
FORMAT = 1
SPARE_RATERS = (20, 100)  # a study of n raters hands out at most 20 n + 100 tokens: a script cannot fill the disk

# one statement each: a script would commit between them
SCHEMA = (
    "CREATE TABLE study (digest TEXT PRIMARY KEY, format INTEGER NOT NULL)",
    "CREATE TABLE rater (number INTEGER PRIMARY KEY, token TEXT NOT NULL UNIQUE, day TEXT NOT NULL)",
    "CREATE TABLE answer (number INTEGER PRIMARY KEY, rater INTEGER NOT NULL REFERENCES rater, position INTEGER"
    " NOT NULL, trial TEXT NOT NULL UNIQUE, choice TEXT NOT NULL, asked REAL, measured TEXT NOT NULL,"
    " UNIQUE (rater, position))",
    *(
        f"CREATE TRIGGER {table}_{verb} BEFORE {verb} ON {table} BEGIN SELECT RAISE(ABORT, 'append only'); END"
        for table in ("study", "rater", "answer")
        for verb in ("UPDATE", "DELETE")
    ),
)


class Refused(Exception):
    """What a rater's page asked for and does not get: an HTTP status and one line."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


class Store:
    """The answers of one study. Raises ValueError where the file belongs to another study or cannot be opened."""

    def __init__(self, study: Study) -> None:
        self.study, self.path = study, study.folder / NAME
        self._lock = threading.Lock()
        self._trials: dict[int, list[Trial]] = {}
        try:
            self._db = _connect(self.path)
            with self._transaction() as db:
                if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'study'").fetchone():
                    for statement in SCHEMA:
                        db.execute(statement)
                    db.execute("INSERT INTO study VALUES (?, ?)", (study.digest, FORMAT))
                digest = db.execute("SELECT digest FROM study").fetchone()[0]
        except sqlite3.Error as error:
            raise ValueError(f"{self.path}: cannot be opened ({error}); check the folder and the disk") from error
        if digest != study.digest:
            raise ValueError(
                f"{self.path} holds answers to another study ({digest[:12]}, this one is {study.digest[:12]});"
                " put the folder together again as it was"
            )
        self._inode = os.stat(self.path).st_ino

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def begin(self) -> str:
        """A new rater's token, after consent. Refused where the study is complete."""
        token = secrets.token_urlsafe(24)
        with self._guarded() as db:
            if self._finished(db) >= self.study.raters:
                raise Refused(410, "This study is complete and takes no more answers. Thank you.")
            number = db.execute("SELECT COUNT(*) FROM rater").fetchone()[0]
            if number >= SPARE_RATERS[0] * self.study.raters + SPARE_RATERS[1]:
                raise Refused(429, "Too many people have begun this study and not finished; ask whoever invited you.")
            day = datetime.datetime.now(datetime.UTC).date().isoformat()
            db.execute("INSERT INTO rater VALUES (?, ?, ?)", (number, _hash(token), day))
        return token

    def next(self, token: str, ahead: int = 2) -> tuple[Trial | None, float | None, list[Trial]]:
        """The trial this rater is at (None at the end), its exposure in ms, and the next few to load in advance."""
        with self._guarded() as db:
            rater = self._rater(db, token)
            trials, done = self._of(rater), self._done(db, rater)
            if done == len(trials):
                return None, None, []
            return trials[done], self._asked(db, rater, trials[done]), trials[done + 1 : done + 1 + ahead]

    def answer(self, token: str, trial: str, choice: str, measured: Mapping[str, Any]) -> int:
        """Keep an answer; the number of answers this rater has given.

        The same answer sent again, as after a lost reply, is kept once. Refused: a choice the design does not have,
        a trial that is not this rater's, one that is already answered otherwise, one whose turn has not come.
        """
        if choice not in {c.value for c in self.study.design.choices}:
            raise Refused(422, f"{choice[:40]!r} is no answer to this question.")
        kept = json.dumps(dict(measured), sort_keys=True)
        with self._guarded() as db:
            rater = self._rater(db, token)
            trials, done = self._of(rater), self._done(db, rater)
            position = next((t.position for t in trials if t.id == trial), None)
            if position is None:
                raise Refused(403, "There is no such trial of yours.")
            if position > done:
                raise Refused(409, "This trial's turn has not come.")
            if position < done:
                before = db.execute("SELECT choice, measured FROM answer WHERE trial = ?", (trial,)).fetchone()
                if before != (choice, kept):
                    raise Refused(409, "This trial was answered before, and the first answer stands.")
                return done
            asked = self._asked(db, rater, trials[position])
            row = (rater, position, trial, choice, asked, kept)
            db.execute("INSERT INTO answer (rater, position, trial, choice, asked, measured) VALUES (?,?,?,?,?,?)", row)
        return done + 1

    def progress(self) -> tuple[int, int, int]:
        """Raters who began, who finished, and answers."""
        with self._guarded() as db:
            begun = db.execute("SELECT COUNT(*) FROM rater").fetchone()[0]
            return begun, self._finished(db), db.execute("SELECT COUNT(*) FROM answer").fetchone()[0]

    def rows(self) -> list[tuple[int, str, int, str, str, float | None, dict[str, Any]]]:
        """Every answer: rater, the rater's token as hashed, position, trial, choice, exposure asked for, what was
        measured; in the order they came."""
        with self._guarded() as db:
            found = db.execute(
                "SELECT rater, token, position, trial, choice, asked, measured FROM answer"
                " JOIN rater ON rater.number = answer.rater ORDER BY answer.number"
            ).fetchall()
        return [(*row[:6], json.loads(row[6])) for row in found]

    @contextlib.contextmanager
    def _guarded(self) -> Generator[sqlite3.Connection]:
        """A transaction; Refused where the folder was moved away under the server, or the disk will not."""
        try:
            moved = os.stat(self.path).st_ino != self._inode
        except OSError:
            moved = True
        if moved:
            raise Refused(503, "The study was moved while it was served; nothing is recorded until it is served again.")
        try:
            with self._transaction() as db:
                yield db
        except sqlite3.Error as error:
            raise Refused(503, f"The answer could not be kept ({error}); try again in a moment.") from error

    @contextlib.contextmanager
    def _transaction(self) -> Generator[sqlite3.Connection]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def _rater(self, db: sqlite3.Connection, token: str) -> int:
        found = db.execute("SELECT number FROM rater WHERE token = ?", (_hash(token),)).fetchone()
        if found is None:
            raise Refused(401, "This page's token is not known to the study; begin anew.")
        return found[0]

    def _of(self, rater: int) -> list[Trial]:
        if rater not in self._trials:
            self._trials[rater] = self.study.plan.trials(rater)
        return self._trials[rater]

    def _done(self, db: sqlite3.Connection, rater: int) -> int:
        return db.execute("SELECT COUNT(*) FROM answer WHERE rater = ?", (rater,)).fetchone()[0]

    def _finished(self, db: sqlite3.Connection) -> int:
        whole = "SELECT COUNT(*) FROM (SELECT 1 FROM answer GROUP BY rater HAVING COUNT(*) = ?)"
        return db.execute(whole, (self.study.plan.length,)).fetchone()[0]

    def _asked(self, db: sqlite3.Connection, rater: int, trial: Trial) -> float | None:
        """The exposure of a trial, ms: by the staircase of its group, from the answers before it."""
        design = self.study.design
        if not isinstance(design, Timed):
            return None
        if trial.check:
            return design.high
        given = db.execute("SELECT choice FROM answer WHERE rater = ? ORDER BY position", (rater,)).fetchall()
        pairs = zip(self._of(rater), given, strict=False)
        return design.exposure([c in t.expected for t, (c,) in pairs if t.group == trial.group])


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA foreign_keys = ON")
    return db


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
