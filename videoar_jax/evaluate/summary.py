"""The figures of an evaluation that a reader looks for, printed."""

from videoar_jax.evaluate import memorisation

_SUMMARY = (
  'fvd',
  'fvd_inf',
  'kvd',
  'psnr',
  'ssim',
  'lpips',
  'bits_per_pixel',
  'class_accuracy',
  'class_accuracy_real',
)
_BESIDE = ('fvd', 'fvd_inf', 'kvd', 'psnr', 'ssim', 'lpips', 'bits_per_clip')


def print_summary(result: dict) -> None:
  """Prints the figures a reader looks for, one a line."""
  for name in ('clean', 'flipped', 'harm'):
    if found := result.get(name):
      shown = ' '.join(f'{value:.4f}' for value in found)
      print(f'{name}, nats a bit by frame from the second: {shown}')
  for name in _SUMMARY:
    if result.get(name) is not None:
      spread = result.get(f'{name}_sd')
      more = '' if spread is None else f' ± {spread:.4f}'
      print(f'{name} {result[name]:.4f}{more}')
  if len(draws := result.get('repeats', ())) > 1:
    print(f'means of {len(draws)} draws ± their standard deviation')
  for name in ('i3d_classes', 'i3d_classes_real'):
    if found := result.get(name):
      print(
        f'{name}: {found["among"]:.3f} right (chance {found["chance"]:.3f}), '
        f'among 400 top1 {found["top1"]:.3f} top5 {found["top5"]:.3f}'
      )
  beside = dict(result.get('baselines', {}))
  if 'h264' in result:
    beside['H.264'] = result['h264']
  for name, figures in beside.items():
    shown = [
      f'{key} {figures[key]:.2f}'
      for key in _BESIDE
      if figures.get(key) is not None
    ]
    if gap := figures.get('farther'):
      shown.append(f'farther {gap["kvd"]:.2f} ± {gap["kvd_stderr"]:.2f} in kvd')
    print(f'{name}: {", ".join(shown)}')
  _print_further(result)


def _print_further(result: dict) -> None:
  """Prints probe, memorisation, intervals and continuation."""
  found = result.get('probe', result)
  if 'ridge' in found:
    print(
      f'probe of {found["train_windows"]} windows of {found["train_clips"]} '
      f'clips, ridge {found["ridge"]}, chance {found["chance"]:.3f}:'
    )
  for name, figures in found.items():
    if isinstance(figures, dict) and 'accuracy' in figures:
      print(f'  {name} {_accuracy(figures)}')
  if found := result.get('memorisation'):
    for name in memorisation.SETS:
      print(f'nearest training window, {name}: {found[name]["median"]:.2f}')
    for name, share in found['nearer'].items():
      print(f'  samples nearer than {name}: {_share(share, "share")}')
  for name, figures in result.get('intervals', {}).items():
    if isinstance(figures, dict):
      print(f'{name} by units of clips {_share(figures, "value")}')
  if found := result.get('between_groups'):
    kvd = found['kvd']
    print(
      f'real against real of other groups: kvd {kvd["median"]:.2f} '
      f'({kvd["least"]:.2f} to {kvd["most"]:.2f})'
    )
  for given, figures in result.get('given', {}).items():
    for name in ('psnr', 'psnr_repeated', 'psnr_coded'):
      shown = ' '.join(f'{value:.1f}' for value in figures[name])
      print(f'{given} given, {name} by frame: {shown}')
    for name, accuracy in figures.get('probe', {}).items():
      print(f'  {name} {_accuracy(accuracy)}')


def _accuracy(figures: dict) -> str:
  return f'{_share(figures, "accuracy")} of {figures["windows"]}'


def _share(figures: dict, name: str) -> str:
  ends = f'{figures["low"]:.3f} to {figures["high"]:.3f}'
  return f'{figures[name]:.3f} ({ends})'
