"""How a job of several processes begins: one on each host, or on each GPU.

Its processes find each other by --coordinator, --num_processes and
--process_id, or by what JAX itself knows of the environment: a TPU pod, GKE, a
Slurm or MPI job. Else, and where there is one process only, nothing is done.
"""

import contextlib
import dataclasses
import hashlib
import inspect
import json
import os
import pathlib
import platform
import re
import socket
import sys
import traceback
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import jax
import jaxlib
from absl import flags as absl_flags
from absl import logging

import videoar_jax
from videoar_jax.core import command, console, peers, relay
from videoar_jax.core.processes import AgreedExit

# JAX's own watch, which ends a process with a stack, comes after ours.
_LIBRARY_S = 600
_SHUTDOWN_S = 10  # for all to leave it; they have met just before
_ALONE = 'for one process alone give --num_processes=1'
# Seconds until a loss is known at the latest.
_NOTICE_S = peers.SILENCE_S + peers.BEAT_S
_MOST_SHOWN = 3  # differences in a message
_CODE_LENGTH = 12  # characters of a digest
_POD, _POD_INDEX = 'KUBERNETES_SERVICE_HOST', 'JOB_COMPLETION_INDEX'
# Of what JAX finds in the environment, and is not told.
_ASKED = (
  'coordinator_address',
  'num_processes',
  'process_id',
  'local_device_ids',
  'cluster_detection_method',
)
# How the text of an error of XLA's begins.
_STATUS = re.compile(r'(UNKNOWN|UNAVAILABLE|INTERNAL|ABORTED|CANCELLED): ')
# Flags in which the processes of a job may differ.
_OWN = ('coordinator', 'num_processes', 'process_id', 'start_timeout_s')
_FREE = (*_OWN, 'verbosity')


@dataclasses.dataclass(frozen=True)
class Place:
  """Where a process of a job belongs; `address` is HOST:PORT of the first."""

  address: str
  count: int
  process: int
  devices: list[int] | None = None  # of this host; None: all


@contextlib.contextmanager
def together(flags: command.Flags) -> Iterator[None]:
  """Joins the job that a command belongs to; a decorator of what it does.

  To be entered before any other use of JAX. Where the work within fails, all
  processes of the job end; how is told in `peers`.

  Args:
    flags: with those of `job.define_flags`.
  Raises:
    UsageError: some of the flags are missing, or do not fit.
    ValueError: alone or not, the processes do not find each other, or differ.
  """
  place = _place(flags)
  if place is None:
    yield
    return
  others = _meet(place, flags['start_timeout_s'])
  try:
    _begin(others, place, flags)
    yield
  except AgreedExit:
    _end(others)
    raise
  except BaseException as error:  # whatever it is, the others must hear of it
    _fail(others, error)
  else:
    _end(others)


def _place(flags: command.Flags) -> Place | None:
  """Where this process belongs; None where it is alone."""
  given = {name: flags[name] for name in _OWN[:3]}
  if list(given.values()) == [None, 1, None]:
    return None
  if all(value is None for value in given.values()):
    return detect(flags['start_timeout_s'])
  missing = [f'--{name}' for name, x in given.items() if x is None]
  if missing:
    raise command.UsageError(
      f'{", ".join(missing)} is missing; a job of several processes needs '
      '--coordinator=HOST:PORT, --num_processes and --process_id'
    )
  address, count, process = given.values()
  port = re.fullmatch(r'.+:([0-9]{1,5})', address)
  if not port or not 0 < int(port[1]) < 2**16:
    raise command.UsageError(f'--coordinator={address}: wanted HOST:PORT')
  if process >= count:
    raise command.UsageError(
      f'--process_id={process}: wanted 0 to {count - 1}, as --num_processes='
      f'{count}'
    )
  return Place(address, count, process) if count > 1 else None


def detect(timeout_s: float) -> Place | None:
  """What JAX knows of the environment; None where it is of one process."""
  settings = {**dict.fromkeys(_ASKED), 'initialization_timeout': int(timeout_s)}
  try:
    # What `initialize` itself asks.
    from jax._src import clusters

    find = clusters.ClusterEnv.auto_detect_unset_distributed_params
    inspect.signature(find).bind(**settings)
  except (ImportError, AttributeError, TypeError) as error:
    logging.warning(
      'this version of JAX does not tell whether there are other processes '
      '(%s); where there are, give --coordinator, --num_processes and '
      '--process_id',
      error,
    )
    return None
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # of a single pod without Kubernetes' API
    try:
      found = find(**settings)
    except Exception as error:  # whatever a cluster's service raises
      if _POD in os.environ and _POD_INDEX not in os.environ:
        return None  # a pod that is of no indexed Job
      raise ValueError(
        'the environment seems to be of several processes, and does not say '
        f'which ({error}); give --coordinator, --num_processes and '
        f'--process_id; {_ALONE}'
      ) from error
  address, count, process, devices = found
  if address is None or count is None or count < 2:
    return None
  return Place(address, count, process, devices)


def _meet(place: Place, timeout_s: float) -> peers.Peers:
  """Opens the lines between this process and the others."""
  seat = peers.Seat(place.process, place.count, socket.gethostname())
  if place.process:
    console.note(
      f'{seat}: waiting for process 0 at {place.address}; {_ALONE} …'
    )
    try:
      return peers.call(seat, place.address, timeout_s=timeout_s)
    except peers.Refused as error:
      raise ValueError(f'process 0 at {place.address}: {error}') from None
    except OSError as error:
      raise ValueError(
        f'no answer from process 0 at {place.address} in {timeout_s:.0f} s '
        f'({error}); check that it was started there, the address, and that '
        f'the port is open between the hosts; {_ALONE}'
      ) from None
  port = int(place.address.rpartition(':')[2])
  console.note(
    f'{seat}: waiting for {place.count - 1} others at {port}; {_ALONE} …'
  )
  try:
    found = peers.listen(seat, port, service=relay.free_port())
  except OSError as error:
    raise ValueError(
      f'port {port} of {place.address} cannot be opened on {seat.host} '
      f'({error.strerror}); give another one to all processes'
    ) from None
  if not found.wait_for_all(timeout_s):
    missing = found.missing()
    text = (
      f'{_listed(missing)} of {place.count} did not come to {place.address} in '
      f'{timeout_s:.0f} s; check that they were started with this address and '
      f'--num_processes, and that their hosts reach the port; {_ALONE}'
    )
    print(f'error: {text}', file=sys.stderr)
    found.fail(text, 1)
  return found


def _listed(numbers: list[int]) -> str:
  shown = ', '.join(map(str, numbers[:10])) + ' …' * (len(numbers) > 10)
  return f'process{"es" * (len(numbers) > 1)} {shown}'


def _begin(others: peers.Peers, place: Place, flags: command.Flags) -> None:
  """Compares the processes, and starts JAX in all of them."""
  seat = others.seat
  _check_same(others, {**_versions(), **_given(flags)})
  # JAX would catch SIGTERM for itself, also where nothing looks for it.
  jax.config.update('jax_enable_preemption_service', False)
  if seat.process:
    address = relay.open_relay(lambda: peers.dial_service(place.address))
  else:
    address = f'127.0.0.1:{others.service}'
  jax.distributed.initialize(
    address,
    seat.count,
    seat.process,
    local_device_ids=place.devices,
    cluster_detection_method='deactivate',
    coordinator_bind_address=address,
    heartbeat_timeout_seconds=_LIBRARY_S,
    shutdown_timeout_seconds=_SHUTDOWN_S,
  )
  devices = jax.local_devices()
  kind = devices[0].device_kind
  _check_same(others, {'devices': len(devices), 'kind of device': kind})
  console.say(
    f'{seat}: {len(devices)} of {jax.device_count()} devices ({kind})'
  )


def _check_same(others: peers.Peers, facts: Mapping[str, Any]) -> None:
  """Raises a ValueError where another process differs in a fact."""
  seat = others.seat

  def check(said: Mapping[int, Any]) -> None:
    for process, (host, theirs) in said.items():
      differ = [
        f'{name} {theirs.get(name)} there, {facts.get(name)} here'
        for name in sorted({*facts, *theirs})
        if theirs.get(name) != facts.get(name)
      ]
      if differ:
        more = f' and {len(differ) - _MOST_SHOWN} more'
        raise ValueError(
          f'process {process} on {host} differs from process 0 on '
          f'{seat.host}: {"; ".join(differ[:_MOST_SHOWN])}'
          f'{more * (len(differ) > _MOST_SHOWN)}; start the same on all hosts'
        )

  others.gather([seat.host, dict(facts)], check)


def _versions() -> dict[str, str]:
  """What computes: two processes that differ must not train together."""
  return {
    'python': platform.python_version(),
    'jax': jax.__version__,
    'jaxlib': jaxlib.__version__,
    'videoar_jax': videoar_jax.__version__,
    'code of videoar_jax': _code_digest(),
  }


def _code_digest() -> str:
  """A digest of the package's source, committed or not."""
  root = pathlib.Path(videoar_jax.__file__).parent
  found = hashlib.sha256()
  for path in sorted(root.rglob('*.py')):
    data = path.read_bytes()
    found.update(f'{path.relative_to(root)} {len(data)} '.encode() + data)
  return found.hexdigest()[:_CODE_LENGTH]


def _given(flags: command.Flags) -> dict[str, str]:
  """What the command line asks for, configs key by key."""
  facts = {}
  for name in flags.values:
    if name in flags.configs:
      config = flags[name]
      if config is not None:
        facts |= _flat(config.to_dict(), f'--{name}')
    elif name not in _FREE and flags.given(name) and '.' not in name:
      facts[f'--{name}'] = repr(flags[name])
  return facts


def _flat(values: Mapping[str, Any], where: str) -> dict[str, str]:
  facts = {}
  for name, value in values.items():
    if isinstance(value, dict):
      facts |= _flat(value, f'{where}.{name}')
    else:
      facts[f'{where}.{name}'] = json.dumps(value, default=repr)
  return facts


def _end(others: peers.Peers) -> None:
  """Ends a process together with all others."""
  others.close()
  try:
    jax.distributed.shutdown()
  except Exception as error:  # the work is done, whatever JAX says
    logging.warning('JAX did not shut down: %s', error)
  others.wait_closed()


def _fail(others: peers.Peers, error: BaseException) -> NoReturn:
  """Says what is wrong as a command does, and ends all processes."""
  # A collective fails where another process was lost: that is to be told.
  of_device = _is_of_device(error)
  fault = others.found_fault(_NOTICE_S if of_device else 0.0)
  if fault is not None and (of_device or fault.status == peers.LOST):
    others.end_for(fault)
  status, text = 1, ' '.join(str(error).split()) or type(error).__name__
  if isinstance(error, KeyboardInterrupt):
    text = 'stopped'
  try:
    with command.refusals():
      raise error
  except SystemExit as ended:
    status = ended.code
    if isinstance(status, str):
      print(status, file=sys.stderr)
      status, text = 1, status.removeprefix('error: ')
  except absl_flags.Error:
    print(f'error: {text}; see --help', file=sys.stderr)
    status = command.BAD_LINE
  except BaseException:
    traceback.print_exc()
    text = f'{type(error).__name__}: {text}'
  others.fail(text, status or 0)


def _is_of_device(error: BaseException) -> bool:
  """Whether a computation failed; on CPUs JAX tells it as a ValueError."""
  return type(error).__name__ in command.DEVICE_ERRORS or (
    isinstance(error, ValueError) and bool(_STATUS.match(str(error)))
  )
