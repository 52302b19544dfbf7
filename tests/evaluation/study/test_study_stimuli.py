"""Stimuli: read from what people have, written without a trace of where they came from."""

from __future__ import annotations

import io
import wave
import zipfile

import numpy as np
import pytest
from PIL import Image
from small_studies import a_wav, pictures

from simulacra.core.randomness import Rng
from simulacra.evaluation.study.midi import RATE, notes, render
from simulacra.evaluation.study.stimuli import Stimulus, check_alike, of_array, of_texts, read, spoil


def opened(stimulus: Stimulus) -> Image.Image:
    return Image.open(io.BytesIO(stimulus.content))


def test_pictures_lose_all_that_is_not_pixels(folder_of_pictures):
    found = read(folder_of_pictures)
    assert [s.source for s in found] == ["best/fake1", "fake2"]
    for s in found:
        image = opened(s)
        assert image.format == "PNG"
        assert image.mode == "RGB"
        assert image.size == (256, 256)  # enlarged by a whole factor, so that every screen shows the same
        assert not image.getexif()
        assert "CAMERA" not in s.content.decode("latin1")
        assert set(image.info) <= {"dpi"}
    grey = np.asarray(opened(found[1]))
    assert np.array_equal(grey[::8, ::8].repeat(8, 0).repeat(8, 1), grey)


def test_archives_and_arrays_are_read_alike(folder_of_pictures, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for path in sorted(folder_of_pictures.rglob("*.*")):
            archive.write(path, path.relative_to(folder_of_pictures).as_posix())
    assert [s.content for s in read(tmp_path / "a.zip")] == [s.content for s in read(folder_of_pictures)]
    x = np.random.default_rng(0).integers(0, 255, (5, 256, 256, 3), dtype=np.uint8)
    np.save(tmp_path / "x.npy", x)
    assert np.array_equal(np.asarray(opened(read(tmp_path / "x.npy")[3])), x[3])
    assert [s.source for s in read(tmp_path / "x.npy", most=2)] == ["0", "2"]


@pytest.mark.parametrize(("width", "channels"), [(1, 1), (2, 2), (3, 1), (4, 2)])
def test_sounds_become_16_bit_mono_of_the_same_wave(tmp_path, width, channels):
    (tmp_path / "s.wav").write_bytes(a_wav(width=width, channels=channels))
    (found,) = read(tmp_path / "s.wav")
    with wave.open(io.BytesIO(found.content)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 8000)
        x = np.frombuffer(file.readframes(10**6), "<i2") / 32767
    truth = 0.5 * np.sin(2 * np.pi * 440 * np.arange(800) / 8000)
    np.testing.assert_allclose(x, truth, atol=1 / 127 if width == 1 else 2e-4)
    assert len(found.content) == 44 + 1600  # no chunk but the format and the samples


def midi(*events: bytes, division: int = 480) -> bytes:
    track = b"".join(events) + b"\x00\xff\x2f\x00"
    head = b"MThd\x00\x00\x00\x06\x00\x00\x00\x01" + division.to_bytes(2, "big")
    return head + b"MTrk" + len(track).to_bytes(4, "big") + track


def test_midi_notes_have_the_times_their_tempo_says():
    """A quarter at 120 to the minute is 0.5 s; after a change to 60, 1 s; velocity 0 ends a note."""
    data = midi(
        b"\x00\x90\x45\x64", b"\x83\x60\x45\x00",  # a' for 480 ticks, ended by velocity 0 under running status
        b"\x00\xff\x51\x03\x0f\x42\x40",  # 1,000,000 microseconds a quarter
        b"\x00\x90\x48\x40", b"\x83\x60\x80\x48\x00",
        b"\x00\x99\x24\x7f", b"\x10\x89\x24\x00",  # a drum, left aside
    )  # fmt: skip
    a, c = notes(data)
    assert (a.start, a.length, a.pitch, a.velocity) == (0, 0.5, 69, 100)
    assert (c.start, c.length, c.pitch) == (0.5, 1.0, 72)
    x, rate = render(data)
    assert rate == RATE
    first = x[int(0.1 * rate) : int(0.4 * rate)]
    spectrum = np.abs(np.fft.rfft(first * np.hanning(len(first))))
    assert np.argmax(spectrum) * rate / len(first) == pytest.approx(440, abs=4)


def test_damaged_music_is_refused_in_a_line():
    for data, said in ((b"nothing", "MThd"), (midi(), "no note"), (midi(b"\x00\x90\x45")[:-8], "damaged|no note")):
        with pytest.raises(ValueError, match=said):
            render(data)


@pytest.mark.parametrize("kind", ["picture", "text", "sound"])
def test_what_is_spoiled_is_far_from_intact_and_of_the_same_form(kind, tmp_path):
    if kind == "picture":
        (whole,) = of_array(np.add.outer(np.arange(32), np.arange(32))[None].astype(np.uint8) * 4, "x")
    elif kind == "text":
        (whole,) = of_texts(["A sentence that says something which a reader follows."])
    else:
        (tmp_path / "s.wav").write_bytes(a_wav())
        (whole,) = read(tmp_path / "s.wav")
    again, other = spoil(whole, Rng(1)), spoil(whole, Rng(2))
    assert again.content == spoil(whole, Rng(1)).content != other.content
    assert again.content != whole.content
    if kind == "picture":
        a, b = np.asarray(opened(whole)).astype(int), np.asarray(opened(again)).astype(int)
        assert a.shape == b.shape
        assert np.array_equal(np.sort(a, None), np.sort(b, None))  # the same pixels in another order
        assert np.abs(a - b).mean() > 20
        assert np.array_equal(b[::8, ::8].repeat(8, 0).repeat(8, 1), b)  # as coarse as it was
    elif kind == "text":
        assert sorted(again.content.decode()) == sorted(whole.content.decode())
    else:
        assert len(again.content) == len(whole.content)


def test_systems_that_form_tells_apart_are_refused():
    small, large = pictures(2, 0), of_array(np.zeros((2, 300, 300, 3), np.uint8), "x")
    with pytest.raises(ValueError, match="give one --size"):
        check_alike({"real": large, "vae": small})
    with pytest.raises(ValueError, match="one kind"):
        check_alike({"real": small, "vae": of_texts(["a"])})
    with pytest.raises(ValueError, match="has no stimuli"):
        check_alike({"real": small, "vae": []})
    slow, fast = ([Stimulus(kind="sound", content=a_wav(rate=rate), source="s")] for rate in (8000, 16000))
    with pytest.raises(ValueError, match="sampling rate"):
        check_alike({"real": slow, "vae": fast})


def test_faults_of_files_are_one_line(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        read(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="has no stimuli"):
        read(tmp_path / "empty")
    for name, content, said in (
        ("a.png", b"no picture", "no picture that can be read"),
        ("a.wav", b"no sound", "no WAV that can be read"),
        ("a.txt", b"  \n", "empty text"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=said) as caught:
            read(tmp_path / name)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="holds picture and sound and text files"):
        read(tmp_path)
