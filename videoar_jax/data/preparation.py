"""Decodes a data set once, or caches a tokenizer's features of it.

The first writes what `array_record:PATH` reads, the second `features:PATH`.
Called again, either goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator

from videoar_jax.core import archive, fields
from videoar_jax.data import (
  array_record,
  decode,
  features,
  shard_writer,
  shards,
  work,
)
from videoar_jax.data.config import DataConfig
from videoar_jax.data.failures import (
  BadDataError,
  BadRecordError,
  check_missing,
  check_share,
  listing,
)
from videoar_jax.data.kinds import check_split_file, parse_source, undecoded
from videoar_jax.data.source import Catalogue, Reader

_VIDEOS_PER_SHARD = 256
_ALONE = work.Crew()
# What a process takes, and how often it holds a group of frames.
_WORKER_BYTES, _COPIES = 10**8, 4


def prepare_videos(
  source: str,
  out: str,
  *,
  height: fields.Count,
  width: fields.Count,
  split_file: str = '',
  num_shards: fields.Natural = 0,
  num_workers: fields.Natural = 0,
  min_frames: fields.Count = 17,
  max_bad_share: fields.Share = 0.05,
) -> dict:
  """Decodes a data set of videos to shards at one resolution.

  Returns:
    The manifest.
  Raises:
    ValueError: a path or number does not serve, a split is empty, or `out`
      holds something else.
    BadDataError: more than max_bad_share of the videos cannot be used, or all
      of a split.
    OSError: the disk is full, or a worker was killed.
  """
  fields.check_call(prepare_videos, locals())
  kind, path = parse_source(source)
  if kind.catalogue is None:
    raise ValueError(f'source={source!r}: only {undecoded()} can be prepared')
  check_split_file(kind, source, split_file)
  _check_size(height, width, num_workers)
  if kind.images:
    min_frames = 1
  found = kind.catalogue(path, split_file=split_file)
  check_missing(found.missing, found.total, max_bad_share)
  found.check_filled((0, 1), source, split_file)
  settings = {
    'source': source,
    'split_file': split_file,
    'height': height,
    'width': width,
    'min_frames': min_frames,
    'num_shards': num_shards,
    'codec': array_record.CODEC,
    'listing': found.digest(),
  }
  encode = _EncodeVideo(found.reader, height, width, min_frames)

  def records(job: _Shard, watch: work.Watch, stats: dict) -> Iterator[bytes]:
    videos = found.splits[job.split]
    items = [
      (videos.file(i), videos.names[i], videos.labels[i]) for i in job.indices
    ]
    stats.update(labels=[], skipped={}, frames=0)
    results = workers.map(encode, items)
    for name, label, payload, reason in watch.over(results):
      if payload is None:
        stats['skipped'][name] = reason
        continue
      record, frames = payload
      stats['labels'].append(label)
      stats['frames'] += frames
      yield record

  with work.Workers(num_workers) as workers:
    return _write(
      shard_writer.Preparation(out, kind='videos', settings=settings),
      _plan_shards([len(x.names) for x in found.splits], num_shards),
      records,
      classes=found.splits[0].classes,
      max_bad_share=max_bad_share,
      found=found,
    )


def prepare_features(
  config: DataConfig,
  out: str,
  *,
  tokenizer_digest: str,
  encode: Callable,
  windows: fields.Count = 1,
  flips: bool = False,
  seed: fields.Seed = 0,
  num_clips: fields.Count = 2000,
  num_shards: fields.Natural = 0,
  crew: work.Crew = _ALONE,
) -> dict:
  """Encodes windows of every video of both splits.

  Args:
    config: what clips to encode; batch_size is the encoder's, num_workers
      load, max_bad_share stops the run.
    out: folder to write.
    tokenizer_digest: goes into the manifest (see `features.check_digest`).
    encode: uint8 (b, T, H, W, 3) -> float32 (b, t, h, w, d).
    windows: per video.
    flips: each window mirrored as well.
    seed: of the windows.
    num_clips: of a rendered source; a tenth as many are held out.
    num_shards: of the training split; 0 for one per 256 videos.
    crew: of the processes that share the work, each of which writes whole
      shards.
  Returns:
    The manifest.
  Raises:
    ValueError, BadDataError, OSError: as `prepare_videos`.
  """
  fields.check_call(prepare_features, locals())
  # Imported here: Grain is slow to import, and each decoding process of
  # prepare_videos imports this module.
  from videoar_jax.data import pipeline

  _check_features(config, windows, flips)
  sources = [pipeline.make_source(config, train=x) for x in (True, False)]
  counts = [len(source) for source in sources]
  if config.kind.rendered:
    wanted = (num_clips, max(num_clips // 10, 1))
    counts = [min(*pair) for pair in zip(counts, wanted)]
  names = ('source', 'split_file', 'num_frames', 'height', 'width')
  settings = {
    **{name: getattr(config, name) for name in (*names, 'frame_stride')},
    'tokenizer_digest': tokenizer_digest,
    'windows': windows,
    'flips': flips,
    'seed': seed,
    'num_shards': num_shards,
    'counts': counts,
  }

  def records(job: _Shard, watch: work.Watch, stats: dict) -> Iterator[bytes]:
    load = features.LoadVariants(sources[job.split], seed, windows, flips)
    loaded = workers.map(load, job.indices)
    return features.encode_records(
      watch.over(loaded), encode, batch_size=config.batch_size, stats=stats
    )

  def begin() -> shard_writer.Preparation:
    return shard_writer.Preparation(out, kind='features', settings=settings)

  # The first one says in the folder what it is for, the others find it there.
  begun = begin() if crew.index == 0 else None
  crew.meet()
  with work.Workers(config.num_workers) as workers:
    return _write(
      begun or begin(),
      _plan_shards(counts, num_shards),
      records,
      classes=sources[0].classes,
      max_bad_share=config.max_bad_share,
      crew=crew,
    )


def _check_size(height: int, width: int, num_workers: int) -> None:
  array_record.check_size(height, width)
  group = array_record.GROUP * height * width * 3
  archive.check_memory(
    max(num_workers, 1) * (_WORKER_BYTES + _COPIES * group),
    f'{num_workers} workers at {height}x{width}; use a smaller num_workers or '
    'size',
  )


def _check_features(config: DataConfig, windows: int, flips: bool) -> None:
  if config.kind.features:
    raise ValueError(f'source={config.source!r}: wanted a source of videos')
  if config.kind.rendered and (windows > 1 or flips):
    raise ValueError(
      f'windows={windows}, flips={flips}: a rendered clip has one window, '
      'and mirrored it is of another class; use --windows=1 --noflips'
    )
  clips = max(config.batch_size, windows * (1 + flips))
  archive.check_memory(
    math.prod((clips, config.num_frames, config.height, config.width, 3)),
    f'{clips} clips of {config.num_frames}x{config.height}x{config.width} at '
    'once; use a smaller batch_size, or fewer windows or frames',
  )


@dataclasses.dataclass(frozen=True)
class _Shard:
  """What goes into a shard: a range of the videos of split 0 or 1."""

  name: str
  split: int
  indices: range


@dataclasses.dataclass(frozen=True)
class _EncodeVideo:
  """Decodes a video to a record, in whichever process."""

  reader: Reader
  height: int
  width: int
  min_frames: int

  def __call__(self, item: tuple[str, str, int | None]) -> tuple:
    """Returns name, label, (record, frames) or None, and what is wrong."""
    file, name, label = item
    try:
      with self.reader.opened(file) as video:
        label = video.label if label is None else label
        record, frames = array_record.encode_video(
          video.frames,
          name=name,
          label=label,
          height=self.height,
          width=self.width,
          rate=video.fps,
        )
    except BadRecordError as error:
      return name, label, None, str(error)
    if frames < self.min_frames:
      return name, label, None, decode.too_short(frames, self.min_frames)
    return name, label, (record, frames), ''


def _plan_shards(counts: list[int], num_shards: int) -> list[_Shard]:
  """Deals the videos of both splits to shards of about one size."""
  per_shard = -(-counts[0] // num_shards) if num_shards else _VIDEOS_PER_SHARD
  jobs = []
  for split, count in enumerate(counts):
    total = -(-count // per_shard)
    if split == 0 and num_shards:
      total = min(num_shards, count)
    names = shards.shard_names(shards.SPLITS[split], total)
    for name, indices in work.even_ranges(count, names):
      jobs.append(_Shard(name, split, indices))
  return jobs


def _write(
  preparation: shard_writer.Preparation,
  jobs: list[_Shard],
  records: Callable,
  *,
  classes: tuple[str, ...],
  max_bad_share: float,
  found: Catalogue | None = None,
  crew: work.Crew = _ALONE,
) -> dict:
  """Writes the shards that are missing, then the manifest."""
  out = preparation.out
  if preparation.manifest is not None:
    if crew.index == 0:
      print(f'{out}: complete already, nothing to do')
    return preparation.manifest
  own = crew.own(jobs)
  total = sum(len(job.indices) for job in own)
  # All that is bad may have fallen to this process; `_finish` sees the whole.
  most = min(1.0, crew.count * max_bad_share)
  missing = found.missing if found else ()
  watch = work.Watch(total, max_bad_share=most, missing=missing)
  with contextlib.closing(watch):
    for job in own:
      note = preparation.finished(job.name, num_classes=len(classes))
      if note is not None:
        watch.reuse(len(job.indices), note['skipped'])
      else:
        stats = {}
        preparation.write(job.name, records(job, watch, stats), stats)
  crew.meet()
  if crew.index == 0:
    _finish(
      preparation,
      jobs,
      classes=classes,
      max_bad_share=max_bad_share,
      found=found,
    )
  crew.meet()
  return preparation.manifest or shards.read_manifest(
    str(out), preparation.kind
  )


def _finish(
  preparation: shard_writer.Preparation,
  jobs: list[_Shard],
  *,
  classes: tuple[str, ...],
  max_bad_share: float,
  found: Catalogue | None,
) -> None:
  """Writes the manifest of shards that are all there."""
  missing, about = (found.missing, found.about) if found else ((), {})
  out, skipped, notes = preparation.out, {}, ([], [])
  for job in jobs:
    note = preparation.finished(job.name, num_classes=len(classes))
    if note is None:
      raise ValueError(
        f'{out}: {job.name} is not there; give all processes one folder that '
        'each of them sees'
      )
    notes[job.split].append(note)
    skipped |= note['skipped']
  total = sum(len(job.indices) for job in jobs)
  bad = {**dict.fromkeys(missing, 'missing'), **skipped}
  check_share(bad, total + len(missing), max_bad_share)
  splits = {
    split: shard_writer.summarise(own, classes)
    for split, own in zip(shards.SPLITS, notes)
  }
  _check_none_empty(splits, skipped)
  preparation.finish(
    {'classes': classes, 'splits': splits, 'skipped': skipped, **about}
  )
  counts = [f'{x["records"]} of {name}' for name, x in splits.items()]
  left_out = f', {len(missing)} missing' if missing else ''
  print(
    f'{out}: {total - len(skipped)} videos ({", ".join(counts)}; '
    f'{len(classes)} classes), {len(skipped)} skipped{left_out}'
  )


def _check_none_empty(splits: dict, failures: dict[str, str]) -> None:
  for split, entry in splits.items():
    if not entry['records']:
      raise BadDataError(
        f'{split}: none of its videos can be used; mend or replace them:\n'
        f'{listing(failures)}'
      )
