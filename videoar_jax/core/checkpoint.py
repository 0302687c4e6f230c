"""Verified checkpoints: Orbax writes them, digests say whether to trust them.

`DIRECTORY/<step>/` is one Orbax composite of `arrays` (nested dicts) and
`manifest` (JSON: shape, dtype and digest of each array, the caller's `meta`,
and a digest of itself). Orbax commits both at once. A step is trusted when
it is committed, its manifest is whole and its arrays match their digests.

Orbax's own CheckpointManager does not serve: the best value would be an item
that checkpoints written so far lack, a half-removed step would count as one,
and a damaged one is not passed over.

Where several processes take part, they do all of this together: the first one
lists, moves and removes, and what one of them meets, all of them go by.
"""

import errno
import json
import shutil
import uuid
from collections.abc import Callable
from typing import Any

import jax
import orbax.checkpoint as ocp
from absl import logging
from etils import epath

from videoar_jax.core import digest as digest_lib
from videoar_jax.core import files, processes
from videoar_jax.core import manifest as manifest_lib
from videoar_jax.core.commit import Meetings
from videoar_jax.core.event_loop import let_fail_in_peace
from videoar_jax.core.manifest import CheckpointError, Restored


class Checkpoints:
  """The checkpoints of one run: the latest few and the best one.

  All processes of a job call `save` and `restore`, with the same step. A save
  runs in the background; the next call to `save`, `restore` or `close` waits
  for it. A save that fails (a full disk), be it in one process alone, is logged
  and counted in `failed_saves`, its remains are removed and the earlier
  checkpoints are left as they are.
  """

  def __init__(self, directory: Any, *, keep: int = 2):
    """Opens a directory of checkpoints, which need not exist yet.

    Args:
      directory: path, local or in a bucket.
      keep: how many of the latest to keep, at least 1; the one with the
        lowest `best_value` is kept besides.
    """
    if keep < 1:
      raise ValueError(f'keep={keep}: wanted at least 1 checkpoint')
    self.directory = manifest_lib.absolute(directory)
    self.failed_saves = 0
    self._keep = keep
    self._best_values: dict[int, float | None] = {}
    self._meetings = Meetings()
    self._writer: ocp.AsyncCheckpointer | None = None
    self._pending: int | None = None
    self._error: Exception | None = None

  def save(
    self,
    step: int,
    tree: Any,
    meta: dict[str, Any],
    *,
    best_value: float | None = None,
    wait: bool = False,
  ) -> None:
    """Writes a checkpoint; arrays may be donated as soon as this returns.

    Args:
      step: its name. A step that this object saved already is not rewritten.
      tree: any tree of arrays.
      meta: JSON values, returned by `restore`.
      best_value: the lower the better; None never counts as best.
      wait: return when the checkpoint is committed.
    Raises:
      CheckpointError: with `wait`, this checkpoint could not be written.
    """
    self._settle()
    self._error = None
    if step not in self._best_values:
      arrays = digest_lib.flatten(tree)
      manifest = manifest_lib.make_manifest(arrays, step, meta, best_value)
      self._best_values[step] = best_value
      self._start(step, arrays, manifest)
    if wait:
      self._settle()
      if self._error is not None:
        why = manifest_lib.brief(self._error)
        raise CheckpointError(
          f'checkpoint {step} in {self.directory} could not be written '
          f'({why}); free some disk space and run the same command again, '
          f'which resumes from the newest of: {self._describe_steps()}'
        ) from self._error

  def restore(
    self,
    abstract_tree: Any,
    *,
    unread: Callable[[str], bool] = lambda name: False,
  ) -> Restored | None:
    """Reads the newest trusted checkpoint.

    Remains of an interrupted save are named and removed; a damaged step is
    named and moved to `DIRECTORY_damaged/`, so that its number is free again.

    Args:
      abstract_tree: ShapeDtypeStructs with shardings, on any mesh.
      unread: which arrays a checkpoint may hold besides, by name.
    Returns:
      The checkpoint, or None where none was ever committed.
    Raises:
      CheckpointError: there are checkpoints and none can be trusted, or the
        arrays are those of another config.
    """
    self._settle()
    reasons = {}
    for step in self._trusted_or_not():
      path = self.directory / str(step)
      restored, reason = self._restore_step(path, abstract_tree, unread)
      if restored is not None:
        self._set_aside(list(reasons))
        self._best_values = {step: restored.best_value}
        return restored
      logging.warning('checkpoint %s is damaged: %s', path, reason)
      reasons[step] = reason
    if reasons:
      raise CheckpointError(manifest_lib.none_trusted(self.directory, reasons))
    return None

  def _trusted_or_not(self) -> list[int]:
    """The committed steps, the newest first; the remains of others go."""

    def listed() -> str:
      self._clear_partial()
      return json.dumps(manifest_lib.list_steps(self.directory)[::-1])

    return json.loads(processes.from_first(listed))

  def _restore_step(
    self,
    path: epath.Path,
    abstract_tree: Any,
    unread: Callable[[str], bool],
  ) -> tuple[Restored | None, str]:
    """One step's checkpoint, or the reason why it cannot be trusted."""
    text, reason = _attempt(
      lambda: processes.from_first(
        lambda: json.dumps(manifest_lib.read_manifest(path))
      )
    )
    if reason:
      return None, reason
    manifest = json.loads(text)
    manifest_lib.check_structure(
      manifest, digest_lib.flatten(abstract_tree), path, unread=unread
    )
    tree, reason = _attempt(
      lambda: manifest_lib.read_arrays(path, abstract_tree)
    )
    if not reason:
      # On its own: for a digest, all processes must have their parts.
      arrays = digest_lib.flatten(tree)
      _, reason = _attempt(lambda: manifest_lib.check_arrays(manifest, arrays))
    if reason:
      return None, reason
    return manifest_lib.restored(manifest, tree), ''

  def close(self) -> None:
    """Waits for a running save, and removes what need not be kept.

    Processes do not wait for one another here: one may be leaving alone.
    """
    self._settle(agree=lambda failed: (failed,))
    if self._writer is not None:
      self._writer.close()
      self._writer = None

  def _start(
    self, step: int, arrays: dict[str, Any], manifest: dict[str, Any]
  ) -> None:
    """Begins a save; where a process cannot, none goes on with it."""
    self._pending = step
    _, reason = _attempt(lambda: self._make_room(step, arrays))
    if reason:
      self._write_failed(CheckpointError(reason))
      return
    self._meetings.begin()
    error = None
    try:
      self._start_writing(step, arrays, manifest)
    except Exception as failure:  # named, counted, reported
      error = failure
    if any(processes.agree(int(error is not None))):
      self._settle(error)

  def _make_room(self, step: int, arrays: dict[str, Any]) -> None:
    if processes.is_first():
      self.directory.mkdir(parents=True, exist_ok=True)
      _check_space(self.directory, arrays)
      # What bears this number was not trusted.
      (self.directory / str(step)).rmtree(missing_ok=True)

  def _start_writing(
    self, step: int, arrays: dict[str, Any], manifest: dict[str, Any]
  ) -> None:
    if self._writer is None:
      let_fail_in_peace()
      self._writer = self._make_writer()
    self._writer.save(
      self.directory / str(step),
      args=ocp.args.Composite(
        arrays=ocp.args.PyTreeSave(digest_lib.nest(arrays)),
        manifest=ocp.args.JsonSave(manifest),
      ),
    )

  def _make_writer(self) -> ocp.AsyncCheckpointer:
    # Named one by one, processes meet at barriers that end, if late, where one
    # does not come; else they meet in collectives, which wait for ever.
    everyone = ocp.options.MultiprocessingOptions(
      active_processes=set(range(jax.process_count()))
    )
    handler = ocp.CompositeCheckpointHandler(
      'arrays',
      'manifest',
      composite_options=ocp.CompositeOptions(multiprocessing_options=everyone),
    )
    return ocp.AsyncCheckpointer(
      handler,
      async_options=ocp.options.AsyncOptions(barrier_sync_fn=self._meetings),
      multiprocessing_options=everyone,
    )

  def _settle(
    self,
    error: Exception | None = None,
    *,
    agree: Callable[[int], tuple[int]] = processes.agree,
  ) -> None:
    """Waits for the running save; then drops checkpoints not to be kept.

    Args:
      error: why this process could not even begin.
      agree: tells whether the save failed in any process.
    """
    if self._pending is None:
      return
    if error is None:
      try:
        self._writer.wait_until_finished()
      except Exception as failure:  # named, counted, reported
        error = failure
    if error is not None:
      self._meetings.give_up()
    if any(agree(int(error is not None))):
      self._write_failed(error or OSError('it failed in another process'))
      return
    self._pending = None
    self._tidy(self._prune)

  def _write_failed(self, error: Exception) -> None:
    step, self._pending = self._pending, None
    self._best_values.pop(step, None)
    self._error = error
    self.failed_saves += 1
    # A writer that failed may raise its error again: the next save makes one.
    writer, self._writer = self._writer, None
    try:
      if writer is not None:
        writer.close()
    except Exception as again:  # the first error was the cause
      logging.warning(
        'closing the writer failed, too: %s', manifest_lib.brief(again)
      )
    self._tidy(self._clear_partial)
    logging.error(
      'checkpoint %s in %s could not be written: %s. Training goes on; the '
      'earlier checkpoints are intact: %s',
      step,
      self.directory,
      manifest_lib.brief(error),
      self._describe_steps(),
    )

  def _tidy(self, work: Callable[[], None]) -> None:
    """Removes what need not be kept, as far as the disk lets it."""
    try:
      if processes.is_first():
        work()
    except OSError as error:
      logging.warning(
        'not all is removed from %s that may be: %s',
        self.directory,
        manifest_lib.brief(error),
      )

  def _prune(self) -> None:
    steps = manifest_lib.list_steps(self.directory)
    for step in steps:
      if step not in self._best_values:
        try:
          manifest = manifest_lib.read_manifest(self.directory / str(step))
          self._best_values[step] = manifest['best_value']
        except CheckpointError:
          self._best_values[step] = None
    valued = [s for s in steps if self._best_values[s] is not None]
    best = min(valued, key=lambda s: self._best_values[s], default=None)
    for step in steps[: -self._keep]:
      if step != best:
        # The manifest first: what is half removed must not be trusted.
        path = self.directory / str(step)
        (path / 'manifest').rmtree(missing_ok=True)
        path.rmtree(missing_ok=True)

  def _clear_partial(self) -> None:
    for path in manifest_lib.children(self.directory):
      unfinished = manifest_lib.PARTIAL in path.name or (
        manifest_lib.is_number(path.name) and not manifest_lib.is_step(path)
      )
      if unfinished and path.is_dir():
        logging.warning(
          'checkpoint %s was never completed (stopped or failed while '
          'writing): removed',
          path,
        )
        self._remove(path)

  def _remove(self, path: epath.Path) -> None:
    """Removes a folder, which a writer that failed may still be filling."""
    try:
      path.rmtree(missing_ok=True)
    except OSError as error:
      logging.warning(
        '%s could not be removed, and is when the run starts again: %s',
        path,
        manifest_lib.brief(error),
      )

  def _set_aside(self, steps: list[int]) -> None:
    """Moves damaged steps, on all processes or on none that goes on."""
    folder = self.directory.parent / f'{self.directory.name}_damaged'

    def move() -> None:
      for step in steps if processes.is_first() else ():
        target = folder / f'{step}-{uuid.uuid4().hex[:8]}'
        files.move_folder(self.directory / str(step), target)
        logging.warning('the damaged checkpoint was moved to %s', target)

    _, reason = _attempt(move)
    if reason:
      raise CheckpointError(
        f'damaged checkpoints in {self.directory} cannot be moved ({reason}); '
        f'move them by hand: {", ".join(map(str, steps))}'
      )

  def _describe_steps(self) -> str:
    try:
      steps = manifest_lib.list_steps(self.directory)
    except OSError as error:  # the disk that could not be written, either
      return f'unknown ({manifest_lib.brief(error)})'
    return ', '.join(map(str, steps)) or 'none'


def _check_space(directory: epath.Path, arrays: dict[str, Any]) -> None:
  """Raises an OSError if a local disk lacks room for the arrays.

  Orbax would fail, too, but half-way and with a long traceback.
  """
  if '://' in str(directory):
    return
  wanted = sum(x.nbytes for x in arrays.values())
  free = shutil.disk_usage(directory).free
  if free < wanted:
    raise OSError(
      errno.ENOSPC,
      f'the disk is full: the checkpoint takes {wanted / 1e6:.1f} MB and '
      f'{free / 1e6:.1f} MB are free',
    )


def _attempt(work: Callable[[], Any]) -> tuple[Any, str]:
  """What a process reads: on all of them, or the reason why one could not."""
  return processes.attempt(work, manifest_lib.brief)
