# The one place that names the release: modules, /proc/driver/nvidia/version and the
# userspace libraries must all carry this exact text, as with the real driver.
NVIDIA_VERSION = 595.58.03
