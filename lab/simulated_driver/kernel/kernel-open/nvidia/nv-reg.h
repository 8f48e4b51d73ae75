/* SPDX-License-Identifier: MIT OR GPL-2.0-or-later */
/*
 * The registry: each entry is a module parameter NVreg_<name> and a line "<name>: value" in
 * /proc/driver/nvidia/params. Names and default values are those of the real driver.
 */
#ifndef NV_REG_H
#define NV_REG_H

#define NV_REGISTRY_NUMBERS(ENTRY)		\
	ENTRY(ResmanDebugLevel, 4294967295)	\
	ENTRY(RmLogonRC, 1)			\
	ENTRY(ModifyDeviceFiles, 1)		\
	ENTRY(DeviceFileUID, 0)			\
	ENTRY(DeviceFileGID, 0)			\
	ENTRY(DeviceFileMode, 438)		\
	ENTRY(InitializeSystemMemoryAllocations, 1) \
	ENTRY(UsePageAttributeTable, 4294967295) \
	ENTRY(EnableMSI, 1)			\
	ENTRY(EnablePCIeGen3, 0)		\
	ENTRY(MemoryPoolSize, 0)		\
	ENTRY(KMallocHeapMaxSize, 0)		\
	ENTRY(VMallocHeapMaxSize, 0)		\
	ENTRY(IgnoreMMIOCheck, 0)		\
	ENTRY(EnableStreamMemOPs, 0)		\
	ENTRY(EnableUserNUMAManagement, 1)	\
	ENTRY(NvLinkDisable, 0)			\
	ENTRY(RmProfilingAdminOnly, 1)		\
	ENTRY(PreserveVideoMemoryAllocations, 0) \
	ENTRY(DynamicPowerManagement, 3)	\
	ENTRY(RegisterPCIDriver, 1)		\
	ENTRY(EnablePCIERelaxedOrderingMode, 0)	\
	ENTRY(EnableResizableBar, 0)		\
	ENTRY(EnableGpuFirmware, 18)		\
	ENTRY(EnableDbgBreakpoint, 0)		\
	ENTRY(OpenRmEnableUnsupportedGpus, 1)	\
	ENTRY(DmaRemapPeerMmio, 1)

#define NV_REGISTRY_TEXTS(ENTRY)		\
	ENTRY(RegistryDwords)			\
	ENTRY(RegistryDwordsPerDevice)		\
	ENTRY(RmMsg)				\
	ENTRY(GpuBlacklist)			\
	ENTRY(TemporaryFilePath)		\
	ENTRY(ExcludedGpus)

#endif
