"""Videos that arrive while they are made, shots, and given frames."""

import dataclasses

import numpy as np
import pytest
from PIL import Image
from tiny_runs import FRAMES, SIDE, runs  # noqa: F401
from toy import compile_cache  # noqa: F401

from videoar_jax import media
from videoar_jax.core.export import load_weights
from videoar_jax.sample import sampler
from videoar_jax.sample.given import read_given
from videoar_jax.sample.streaming import VideoStream
from videoar_jax.tokenizer.stream import Codec

pytestmark = pytest.mark.filterwarnings('ignore:Some donated buffers')


@pytest.fixture(scope='module')
def generator(runs):  # noqa: F811
  return sampler.Generator.of(load_weights(runs / 'generator'))


@pytest.fixture(scope='module')
def sampling(generator):
  return generator.sampling(num_frames=FRAMES, guidance='2')


@pytest.fixture(scope='module')
def stream(generator, sampling):
  """One for all tests, which compile its programs once."""
  return VideoStream(generator, sampling)


def _joined(frames):
  return np.concatenate(list(frames), axis=1)


def _close(one, other):
  """Two programs may round a sum apart, which turns a bit over at times."""
  assert one.shape == other.shape
  assert (np.abs(one.astype(int) - other) <= 2).mean() > 0.98


@pytest.mark.parametrize('window', [None, 1])
def test_a_stream_shows_the_video_of_the_whole_program(
  generator, sampling, stream, window
):
  labels = [3, 0]
  if window:
    sampling = dataclasses.replace(sampling, window=window)
    stream = VideoStream(generator, sampling)
  whole = sampler.sample_videos(
    generator.program(sampling), generator.nets, labels, sampling=sampling
  )
  parts = list(stream.video(labels))
  assert [part.shape[1] for part in parts] == [1, 4, 4]
  _close(_joined(parts), np.stack(list(whole)))


def test_given_frames_come_back_as_the_tokenizer_codes_them(
  generator, sampling, stream
):
  rng = np.random.default_rng(0)
  video = rng.integers(0, 256, (1, 5, SIDE, SIDE, 3), np.uint8)
  tokenizer = Codec(generator.tokenizer, generator.nets['autoencoder'])
  bits = tokenizer.encode(video)
  coded = tokenizer.decode(bits)
  streamed = _joined(stream.video([1, 1], given=bits))[:1]
  assert np.abs(streamed[:, :5].astype(int) - coded).max() <= 1
  (whole,) = sampler.sample_videos(
    generator.program(sampling),
    generator.nets,
    [1],
    sampling=sampling,
    given=bits,
  )
  assert np.abs(whole[:5].astype(int) - coded[0]).max() <= 1
  _close(streamed, whole[None])


def test_shots_share_frames_and_draw_anew(generator, stream):
  labels = [2, 4]
  first = _joined(stream.video(labels))
  three = _joined(stream.shots(labels, num_shots=3, overlap=5))
  assert three.shape[1] == FRAMES + 2 * (FRAMES - 5)
  np.testing.assert_array_equal(three[:, :FRAMES], first)
  # The seed begins again at 0.
  again = next(stream.video(labels, shot=2**32))
  np.testing.assert_array_equal(again, first[:, :1])
  tokenizer = Codec(generator.tokenizer, generator.nets['autoencoder'])
  given = tokenizer.encode(first[:, -5:])
  second = _joined(stream.video(labels, given=given, shot=1))
  np.testing.assert_array_equal(
    three[:, FRAMES : 2 * FRAMES - 5], second[:, 5:]
  )
  for options, words in (
    ({'num_shots': 0, 'overlap': 5}, 'num_shots=0'),
    ({'num_shots': 2, 'overlap': 6}, 'num_frames=6.*use 5'),
    ({'num_shots': 2, 'overlap': FRAMES}, f'overlap={FRAMES}.*add none'),
  ):
    with pytest.raises(ValueError, match=words):
      next(stream.shots([2], **options))


@pytest.fixture(scope='module')
def files(tmp_path_factory):
  root = tmp_path_factory.mktemp('given')
  rng = np.random.default_rng(0)
  video = rng.integers(0, 256, (7, 24, 36, 3), np.uint8)
  media.write_mp4(root / 'clip.mp4', video, fps=10)
  Image.fromarray(video[0]).save(root / 'wide.png')
  (root / 'text.png').write_text('no picture')
  return root


def test_an_image_of_another_shape_is_cropped_and_said_to_be(
  generator, files, capsys
):
  config = generator.tokenizer
  video = read_given(
    str(files / 'wide.png'), config, size=(SIDE, SIDE), num_frames=9, count=1
  )
  assert video.shape == (1, 1, SIDE, SIDE, 3)
  assert 'wide.png: 24×36 is cropped' in capsys.readouterr().err
  tail = read_given(
    str(files / 'clip.mp4'), config, size=(SIDE, SIDE), num_frames=9, count=5
  )
  assert tail.shape == (1, 5, SIDE, SIDE, 3)


@pytest.mark.parametrize(
  'name,options,words',
  [
    ('clip.mp4', {'num_frames': 9}, '7 frames.*1 [+] 4k.*given_frames=5'),
    ('clip.mp4', {'num_frames': 9, 'count': 6}, 'num_frames=6.*use 5'),
    ('clip.mp4', {'num_frames': 17, 'count': 9}, '7 frames, and given_frames'),
    ('clip.mp4', {'num_frames': 5, 'count': 5}, '5 frames or more.*ask for'),
    ('clip.mp4', {'num_frames': 5}, '5 frames or more.*fewer by given_frames'),
    ('text.png', {'num_frames': 9, 'count': 1}, 'text.png: unreadable'),
    ('absent.mp4', {'num_frames': 9}, 'absent.mp4'),
  ],
)
def test_frames_that_do_not_fit_are_refused(
  generator, files, name, options, words
):
  with pytest.raises(ValueError, match=words):
    read_given(
      str(files / name), generator.tokenizer, size=(SIDE, SIDE), **options
    )
