"""Makes the goldens of the parity tests with PyTorch and with diffusers.

  pip install -e '.[parity,metrics]'
  python tests/goldens/make_goldens.py [quantizer] [lpips] [wan] [vae] [umt5]

Without a word it makes all; each needs its own packages alone. Run it again
only where inputs change: the tests compare the project's own arithmetic with
what is written here, and need no PyTorch.
"""

import pathlib
import sys

import numpy as np
import torch
import torch.nn.functional as F

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import golden_inputs  # noqa: E402

VGG16 = (64, 64, 'M', 128, 128, 'M', 256, 256, 256, 'M', 512, 512, 512, 'M')
VGG16 += (512, 512, 512)


def quantise(
  f_bthwd: np.ndarray, scales
) -> tuple[list[np.ndarray], np.ndarray]:
  """Multi-scale residual bits of each latent frame, and the sum of codes."""
  f = torch.from_numpy(f_bthwd)
  b, t, h, w, d = f.shape
  left = f.reshape(b * t, h, w, d).permute(0, 3, 1, 2).contiguous()
  total, bits = torch.zeros_like(left), []
  for size in scales:
    z = F.interpolate(left, size=size, mode='area')
    one = z > 0
    code = torch.where(one, 1.0, -1.0) / d**0.5
    up = F.interpolate(code, size=(h, w), mode='bilinear', align_corners=False)
    total, left = total + up, left - up
    bits.append(one.permute(0, 2, 3, 1).reshape(b, t, *size, d).numpy())
  return bits, total.permute(0, 2, 3, 1).reshape(b, t, h, w, d).numpy()


def lpips_vgg16(arrays, a_nHWc: np.ndarray, b_nHWc: np.ndarray) -> np.ndarray:
  """LPIPS, version 0.1, with VGG16."""
  shift = torch.tensor([-0.030, -0.088, -0.188])[:, None, None]
  scale = torch.tensor([0.458, 0.448, 0.450])[:, None, None]

  def features(x_nHWc):
    x = (torch.from_numpy(x_nHWc).permute(0, 3, 1, 2) - shift) / scale
    found, conv = [], 0
    for i, layer in enumerate(VGG16):
      if layer == 'M':
        x = F.max_pool2d(x, 2)
        continue
      kernel = torch.from_numpy(arrays[f'VGG16_0.Conv_{conv}.kernel'])
      bias = torch.from_numpy(arrays[f'VGG16_0.Conv_{conv}.bias'])
      x = F.relu(F.conv2d(x, kernel.permute(3, 2, 0, 1), bias, padding=1))
      conv += 1
      if i + 1 == len(VGG16) or VGG16[i + 1] == 'M':
        found.append(x / (x.norm(dim=1, keepdim=True) + 1e-10))
    return found

  total = 0.0
  for j, (a, b) in enumerate(zip(features(a_nHWc), features(b_nHWc))):
    head = torch.from_numpy(arrays[f'NetLinLayer_{j}.Conv_0.kernel'])
    gap = F.conv2d((a - b) ** 2, head.permute(3, 2, 0, 1))
    total = total + gap.mean(dim=(1, 2, 3))
  return total.numpy()


def make_quantizer() -> None:
  found = {}
  for i, scales in enumerate(golden_inputs.SCHEDULES):
    bits, total = quantise(golden_inputs.features(i), scales)
    for k, scale_bits in enumerate(bits):
      found[f'bits{i}.{k}'] = np.packbits(scale_bits)
    found[f'total{i}'] = total
  np.savez_compressed(HERE / 'quantizer.npz', **found)


def make_lpips() -> None:
  from videoar_jax.core import pretrained

  arrays = pretrained.load_weights(pretrained.LPIPS_VGG16).arrays
  found = {
    f'lpips{i}': lpips_vgg16(arrays, *golden_inputs.pictures(i))
    for i in range(len(golden_inputs.LPIPS_SIZES))
  }
  np.savez(HERE / 'lpips_vgg16.npz', **found)


def make_wan() -> None:
  import wan_transformer

  wan_transformer.make()


def make_vae() -> None:
  import wan_goldens

  np.savez_compressed(HERE / 'wan_vae.npz', **wan_goldens.wan_vae())


def make_umt5() -> None:
  import wan_goldens

  np.savez_compressed(HERE / 'umt5.npz', **wan_goldens.umt5())


def main(words: list[str]) -> None:
  makers = {
    'quantizer': make_quantizer,
    'lpips': make_lpips,
    'wan': make_wan,
    'vae': make_vae,
    'umt5': make_umt5,
  }
  for word in words or makers:
    makers[word]()


if __name__ == '__main__':
  main(sys.argv[1:])
