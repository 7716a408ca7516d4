/* Instruction codes for the assembler macros in bcc's helpers.h (uapi). */
#ifndef TCCAP_STUB_BPF_COMMON_H
#define TCCAP_STUB_BPF_COMMON_H

#define BPF_CLASS(code) ((code) & 0x07)
#define BPF_LD 0x00
#define BPF_LDX 0x01
#define BPF_ST 0x02
#define BPF_STX 0x03
#define BPF_ALU 0x04
#define BPF_JMP 0x05

#define BPF_W 0x00
#define BPF_DW 0x18
#define BPF_MEM 0x60
#define BPF_K 0x00
#define BPF_X 0x08

#define BPF_ADD 0x00
#define BPF_MOV 0xb0
#define BPF_JA 0x00
#define BPF_CALL 0x80
#define BPF_EXIT 0x90
#define BPF_MAXINSNS 4096

#endif
