// A Vulkan layer that says that a device has VK_KHR_external_semaphore_fd, and takes the name out of what the device is
// asked for. SAPIEN 2 asks for this extension on every device and uses it only with CUDA; Mesa's software Vulkan of
// version 25.0 does not have it. How to build and use it: ../use_the_simpler_scenes.md, "The original SIMPLER".
#include <string.h>
#include <stdlib.h>
#include <vulkan/vulkan.h>
#include <vulkan/vk_layer.h>
#define NAME "VK_KHR_external_semaphore_fd"
#define EXPORT __attribute__((visibility("default")))

static PFN_vkGetInstanceProcAddr next_instance;
static PFN_vkGetDeviceProcAddr next_device;
static PFN_vkEnumerateDeviceExtensionProperties next_enumerate;
static VkInstance instance;

static VKAPI_ATTR VkResult VKAPI_CALL create_instance(const VkInstanceCreateInfo *info, const VkAllocationCallbacks *alloc, VkInstance *out) {
    VkLayerInstanceCreateInfo *chain = (VkLayerInstanceCreateInfo *)info->pNext;
    while (chain && !(chain->sType == VK_STRUCTURE_TYPE_LOADER_INSTANCE_CREATE_INFO && chain->function == VK_LAYER_LINK_INFO))
        chain = (VkLayerInstanceCreateInfo *)chain->pNext;
    if (!chain) return VK_ERROR_INITIALIZATION_FAILED;
    next_instance = chain->u.pLayerInfo->pfnNextGetInstanceProcAddr;
    chain->u.pLayerInfo = chain->u.pLayerInfo->pNext;
    VkResult result = ((PFN_vkCreateInstance)next_instance(NULL, "vkCreateInstance"))(info, alloc, out);
    instance = *out;
    if (result == VK_SUCCESS)
        next_enumerate = (PFN_vkEnumerateDeviceExtensionProperties)next_instance(*out, "vkEnumerateDeviceExtensionProperties");
    return result;
}

static VKAPI_ATTR VkResult VKAPI_CALL enumerate(VkPhysicalDevice device, const char *layer, uint32_t *count, VkExtensionProperties *list) {
    uint32_t have = 0;
    VkResult result = next_enumerate(device, layer, &have, NULL);
    if (result != VK_SUCCESS) return result;
    VkExtensionProperties *all = calloc(have + 1, sizeof *all);
    result = next_enumerate(device, layer, &have, all);
    int known = 0;
    for (uint32_t i = 0; i < have; i++) known |= !strcmp(all[i].extensionName, NAME);
    if (!known) { strcpy(all[have].extensionName, NAME); all[have++].specVersion = 1; }
    if (list) {
        uint32_t given = *count < have ? *count : have;
        memcpy(list, all, given * sizeof *all);
        if (given < have) result = VK_INCOMPLETE;
        *count = given;
    } else *count = have;
    free(all);
    return result;
}

static VKAPI_ATTR VkResult VKAPI_CALL create_device(VkPhysicalDevice physical, const VkDeviceCreateInfo *info, const VkAllocationCallbacks *alloc, VkDevice *out) {
    VkLayerDeviceCreateInfo *chain = (VkLayerDeviceCreateInfo *)info->pNext;
    while (chain && !(chain->sType == VK_STRUCTURE_TYPE_LOADER_DEVICE_CREATE_INFO && chain->function == VK_LAYER_LINK_INFO))
        chain = (VkLayerDeviceCreateInfo *)chain->pNext;
    if (!chain) return VK_ERROR_INITIALIZATION_FAILED;
    PFN_vkGetInstanceProcAddr next = chain->u.pLayerInfo->pfnNextGetInstanceProcAddr;
    next_device = chain->u.pLayerInfo->pfnNextGetDeviceProcAddr;
    chain->u.pLayerInfo = chain->u.pLayerInfo->pNext;
    const char **kept = calloc(info->enabledExtensionCount + 1, sizeof *kept);
    VkDeviceCreateInfo changed = *info;
    changed.enabledExtensionCount = 0;
    for (uint32_t i = 0; i < info->enabledExtensionCount; i++)
        if (strcmp(info->ppEnabledExtensionNames[i], NAME)) kept[changed.enabledExtensionCount++] = info->ppEnabledExtensionNames[i];
    changed.ppEnabledExtensionNames = kept;
    VkResult result = ((PFN_vkCreateDevice)next(instance, "vkCreateDevice"))(physical, &changed, alloc, out);
    free(kept);
    return result;
}

EXPORT VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL semaphore_layer_GetDeviceProcAddr(VkDevice device, const char *name) {
    return next_device(device, name);
}

EXPORT VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL semaphore_layer_GetInstanceProcAddr(VkInstance in, const char *name) {
    if (!strcmp(name, "vkGetInstanceProcAddr")) return (PFN_vkVoidFunction)semaphore_layer_GetInstanceProcAddr;
    if (!strcmp(name, "vkGetDeviceProcAddr")) return (PFN_vkVoidFunction)semaphore_layer_GetDeviceProcAddr;
    if (!strcmp(name, "vkCreateInstance")) return (PFN_vkVoidFunction)create_instance;
    if (!strcmp(name, "vkCreateDevice")) return (PFN_vkVoidFunction)create_device;
    if (!strcmp(name, "vkEnumerateDeviceExtensionProperties")) return (PFN_vkVoidFunction)enumerate;
    return next_instance ? next_instance(in, name) : NULL;
}
