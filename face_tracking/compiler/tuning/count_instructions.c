/* SPDX-License-Identifier: Apache-2.0
 *
 * A plugin for QEMU's user emulation that counts executed instructions. It prints the sum at the
 * end, "executed 123456", and at each mark, "mark 123456". A mark is getpriority(0x7ACE, ...), which
 * no other program calls. With the argument "classes=on" it also prints after each mark how many
 * instructions of each class were executed by then, "class load 1234", and from the second mark on
 * each block of instructions that was executed since the mark before: how often, and its classes,
 * "block 500 load 3 vector 4". Classes are defined by the pipes of a Cortex-A76 that they use, see
 * port_model.py. Debian packages no header, so the few prototypes are repeated here
 * (https://www.qemu.org/docs/master/devel/tcg-plugins.html).
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORTED __attribute__((visibility("default")))
#define ADD_U64 0
#define GETPRIORITY 141 /* on arm64 */
#define MARK 0x7ACE

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;

void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int, void *, uint64_t);
void qemu_plugin_register_atexit_cb(plugin_id, void (*)(plugin_id, void *), void *);
void qemu_plugin_register_vcpu_syscall_cb(plugin_id, void (*)(plugin_id, unsigned, int64_t, uint64_t,
                                                              uint64_t, uint64_t, uint64_t, uint64_t,
                                                              uint64_t, uint64_t, uint64_t));
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
char *qemu_plugin_insn_disas(const struct qemu_plugin_insn *);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);

EXPORTED int qemu_plugin_version = 1;

enum class { VECTOR, MULTIPLY, MULTIPLY_HALF, CONVERT_HALF, DIVIDE, SHIFT, LOAD, LOAD_PAIR, STORE,
             STORE_VECTOR, BRANCH, INTEGER, CLASSES };
static const char *const names[CLASSES] = {
    "vector", "multiply", "multiply_half", "convert_half", "divide", "shift", "load", "load_pair",
    "store", "store_vector", "branch", "integer"};

/* Instructions without a branch between them, and how often they were executed. */
struct block {
    struct block *next;
    uint64_t times, times_before;
    unsigned found[CLASSES];
};

static uint64_t executed;
static struct block *blocks;
static bool classify;

static bool starts(const char *text, const char *const *beginnings)
{
    for (; *beginnings; beginnings++)
        if (!strncmp(text, *beginnings, strlen(*beginnings)))
            return true;
    return false;
}

/* Return the class of an instruction that QEMU's disassembler does not know: of vectors of float16,
 * SDOT and SQRDMLAH, which were added to the first version of the instruction set. */
static enum class class_of_word(uint32_t word)
{
    bool wide = word & 1u << 30;
    if ((word >> 25 & 7) != 7)
        return INTEGER;
    if ((word & 0xBF20F400) == 0x2E008400 || (word & 0xBF00D400) == 0x2F00D000)
        return wide ? MULTIPLY_HALF : MULTIPLY; /* SQRDMLAH and SQRDMLSH */
    if ((word & 0xBF60FC00) == 0x2E403C00)
        return DIVIDE;
    if ((word & 0x9F7E0C00) == 0x0E780800) { /* one operand of float16 */
        unsigned operation = word >> 12 & 31;
        return operation == 15 ? VECTOR : operation == 31 ? DIVIDE : wide ? CONVERT_HALF : MULTIPLY_HALF;
    }
    if ((word & 0x9FF0FC00) == 0x0F10E400 || (word & 0x9FF0FC00) == 0x0F10FC00)
        return wide ? CONVERT_HALF : MULTIPLY_HALF; /* between float16 and fixed-point numbers */
    return VECTOR;
}

/* Return the class of a disassembled instruction such as "sqrdmlah v0.8h, v1.8h, v2.8h". */
static enum class class_of(const char *text)
{
    static const char *const load_pairs[] = {"ldp", "ldnp", "ld1", "ld2", "ld3", "ld4", 0};
    static const char *const loads[] = {"ld", "prfm", 0};
    static const char *const stores[] = {"st", 0};
    static const char *const branches[] = {"b ", "b.", "bl", "br", "ret", "cb", "tb", 0};
    static const char *const divides[] = {"fdiv", "fsqrt", 0};
    /* On one pipe; with vectors of 128 bits every other cycle. */
    static const char *const multiplies[] = {"sqrdml", "sqrdmul", "sqdmul", "mul", "mla", "mls",
                                             "fcvt", "scvtf", "ucvtf", "frint", "frecp", "frsq", 0};
    static const char *const long_multiplies[] = {"smull", "umull", "smlal", "umlal", "sqdmlal", 0};
    static const char *const shifts[] = {"sqxt", "uqxt", "sqrshr", "uqrshr", "sqshr", "shrn", "rshrn",
                                         "sshr", "ushr", "shl", "sshl", "ushl", "srshr", "urshr",
                                         "ssra", "usra", "sri", "sli", "saddlp", "uadalp", "sadalp",
                                         "addv", "uaddlv", 0};
    const char *operands = strchr(text, ' ');
    while (operands && *operands == ' ')
        operands++;
    bool vector = operands && strchr("vqdsh{", *operands);
    bool wide = operands && (strstr(operands, ".8h") || strstr(operands, ".4s") ||
                             strstr(operands, ".16b") || strstr(operands, ".2d"));
    if (starts(text, load_pairs))
        return LOAD_PAIR;
    if (starts(text, loads))
        return LOAD;
    if (starts(text, stores))
        return vector ? STORE_VECTOR : STORE;
    if (starts(text, branches))
        return BRANCH;
    if (!vector)
        return INTEGER;
    if (starts(text, divides))
        return DIVIDE;
    if (starts(text, long_multiplies))
        return MULTIPLY;
    if (starts(text, multiplies))
        return wide ? MULTIPLY_HALF : MULTIPLY;
    if (starts(text, shifts))
        return SHIFT;
    return VECTOR;
}

static void translated(plugin_id id, struct qemu_plugin_tb *block)
{
    (void)id;
    size_t size = qemu_plugin_tb_n_insns(block);
    qemu_plugin_register_vcpu_tb_exec_inline(block, ADD_U64, &executed, size);
    if (!classify)
        return;
    struct block *own = calloc(1, sizeof *own);
    if (own == NULL)
        abort();
    for (size_t index = 0; index < size; index++) {
        struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(block, index);
        char *text = qemu_plugin_insn_disas(instruction);
        uint32_t word;
        memcpy(&word, qemu_plugin_insn_data(instruction), sizeof word);
        bool known = text && !starts(text, (const char *const[]){".byte", 0});
        own->found[known ? class_of(text) : class_of_word(word)]++;
        free(text);
    }
    own->next = blocks;
    blocks = own;
    qemu_plugin_register_vcpu_tb_exec_inline(block, ADD_U64, &own->times, 1);
}

static void print_classes(void)
{
    static bool marked;
    uint64_t counts[CLASSES] = {0};
    for (struct block *block = blocks; block; block = block->next)
        for (int class = 0; class < CLASSES; class++)
            counts[class] += block->times * block->found[class];
    for (int class = 0; class < CLASSES; class++)
        fprintf(stderr, "class %s %" PRIu64 "\n", names[class], counts[class]);
    for (struct block *block = blocks; block; block = block->next) {
        if (marked && block->times > block->times_before) {
            fprintf(stderr, "block %" PRIu64, block->times - block->times_before);
            for (int class = 0; class < CLASSES; class++)
                if (block->found[class])
                    fprintf(stderr, " %s %u", names[class], block->found[class]);
            fprintf(stderr, "\n");
        }
        block->times_before = block->times;
    }
    marked = true;
}

static void called(plugin_id id, unsigned cpu, int64_t number, uint64_t first, uint64_t a2,
                   uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8)
{
    (void)id, (void)cpu, (void)a2, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    if (number != GETPRIORITY || first != MARK)
        return;
    fprintf(stderr, "mark %" PRIu64 "\n", executed);
    if (classify)
        print_classes();
}

static void ended(plugin_id id, void *data)
{
    (void)id;
    (void)data;
    fprintf(stderr, "executed %" PRIu64 "\n", executed);
}

EXPORTED int qemu_plugin_install(plugin_id id, const void *info, int count, char **arguments)
{
    (void)info;
    for (int number = 0; number < count; number++)
        classify |= !strcmp(arguments[number], "classes=on");
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_vcpu_syscall_cb(id, called);
    qemu_plugin_register_atexit_cb(id, ended, NULL);
    return 0;
}
