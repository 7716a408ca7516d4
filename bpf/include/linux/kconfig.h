/* bcc takes a folder for a kernel tree when this file is in it. */
#define CONFIG_BPF_SYSCALL 1
