"""Parts that know nothing of video.

command     how every command begins, reads flags, speaks, refuses and ends
console     what a command tells while it works
fields      numbers within bounds, words of a list, stated in the dataclass
buckets     buckets of Google Cloud Storage, where they are no folders
files       users' text and JSON, checked; outputs, written whole or not
structure   what a JSON value must look like
archive     zip archives and .npz, nothing inflated before its size is known
rar         RAR archives, read member by member
lazy        packages that are imported on first use
lock        one job at a time in a folder
config_files  a user's config file, or one that comes with the package
config      dataclass configs <-> ml_collections <-> JSON
mesh        the device mesh and logical axis rules (the only such file)
placement   arrays of the host on the devices of a mesh, and back
processes   what the processes of one job agree on
job         the flags by which the processes of a job find each other
start       how a job of several processes begins
peers       what its processes hear of one another, and how they end together
relay       the way from each of them to JAX's coordination service
spread      videos of a job over a process's devices, and over processes
compiler    how programs are compiled, platform by platform
flops       operations of a program's products, counted as it is traced
chips       what accelerators have, as their makers state it
topology    TPUs by name, to compile for where there are none
digest      per-array checksums that no mesh and no file format changes
event_loop  makes Orbax report an error once, without tracebacks
manifest    what is trusted of a checkpoint folder, and reading it
commit      all processes commit a checkpoint, or none
checkpoint  verified Orbax checkpoints: per-array digests, commit, fall-back
fit         whether arrays are those of a network
export      safetensors + JSON weights, and `load_weights` for any checkpoint
weight_file a network's weights as safetensors, float32 or bfloat16
weight_folder  those of others: one file, or several and their index
tensor_files  arrays of safetensors files, read one by one
foreign     weights of other projects: other names, and axes in another order
cache       where weights and compiled programs are kept between commands
pretrained  finds, checks and caches weights that packages bring along
shapes      the glossary of array-axis letters
precision   what keeps a float32 product float32 on accelerators
resize      area and bilinear resizing as explicit matrices
layers      norms, layers, initialisers with logical axes
rope        rotary positions over several axes
mask        which units of tokens see which, in the forms kernels want
kv_cache    keys and values of a rollout, in one order of axes
attention   the one place that picks an attention kernel
splash      attention in blocks that skip what is not seen, on TPU
"""
