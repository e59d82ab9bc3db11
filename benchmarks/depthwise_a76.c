/* SPDX-License-Identifier: Apache-2.0
 *
 * One row of a 3x3 depthwise convolution, 80 pixels by 48 channels, in three kinds of arithmetic:
 *
 *     depthwise_a76 sqrdmlah|sdot|float16
 *
 * Runs in QEMU with the plugin count_instructions.c; see depthwise_a76.py.
 */
#include <arm_neon.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>

#define WIDTH 80
#define CHANNELS 48
#define TILE 4 /* pixels */
#define VECTORS 2 /* of 8 channels */
#define ROW ((WIDTH + 2) * CHANNELS)
#define MARK 0x7ACE

static int16_t rows16[3][ROW], weights16[9 * CHANNELS], bias16[CHANNELS];
static float16_t rows_half[3][ROW], weights_half[9 * CHANNELS], bias_half[CHANNELS];
static int8_t rows8[3][ROW], weights8[3][CHANNELS * 4], result[WIDTH * CHANNELS];
static int32_t bias32[CHANNELS];

/* The kernel that the compiler emits for processors without float16: 16-bit fractions. */
static void sqrdmlah(void)
{
    for (int c = 0; c < CHANNELS; c += 8 * VECTORS)
        for (int x = 0; x < WIDTH; x += TILE) {
            int16x8_t sums[TILE][VECTORS];
            for (int p = 0; p < TILE; p++)
                for (int v = 0; v < VECTORS; v++)
                    sums[p][v] = vld1q_s16(bias16 + c + 8 * v);
#pragma GCC unroll 3
            for (int r = 0; r < 3; r++)
#pragma GCC unroll 6
                for (int k = 0; k < TILE + 2; k++)
#pragma GCC unroll 2
                    for (int v = 0; v < VECTORS; v++) {
                        int16x8_t in = vld1q_s16(&rows16[r][(x + k) * CHANNELS + c + 8 * v]);
#pragma GCC unroll 3
                        for (int t = 0; t < 3; t++)
                            if (k >= t && k - t < TILE)
                                sums[k - t][v] = vqrdmlahq_s16(
                                    sums[k - t][v], in,
                                    vld1q_s16(weights16 + (3 * r + t) * CHANNELS + c + 8 * v));
                    }
#pragma GCC unroll 4
            for (int p = 0; p < TILE; p++)
                vst1q_s8(result + (x + p) * CHANNELS + c,
                         vcombine_s8(vqrshrn_n_s16(sums[p][0], 4), vqrshrn_n_s16(sums[p][1], 4)));
        }
}

/* Return bytes of numbers whose bits, with the bias, are those of an integer. */
static inline int8x8_t byte_of(float16x8_t sum, int c)
{
    int16x8_t bits = vreinterpretq_s16_f16(vaddq_f16(sum, vld1q_f16(bias_half + c)));
    return vqrshrn_n_s16(vqsubq_s16(bits, vdupq_n_s16(0x4600)), 2);
}

/* The kernel that the compiler emits for the Cortex-A76: float16. */
static void half(void)
{
    for (int c = 0; c < CHANNELS; c += 8 * VECTORS)
        for (int x = 0; x < WIDTH; x += TILE) {
            float16x8_t sums[TILE][VECTORS];
#pragma GCC unroll 3
            for (int r = 0; r < 3; r++)
#pragma GCC unroll 6
                for (int k = 0; k < TILE + 2; k++)
#pragma GCC unroll 2
                    for (int v = 0; v < VECTORS; v++) {
                        float16x8_t in = vld1q_f16(&rows_half[r][(x + k) * CHANNELS + c + 8 * v]);
#pragma GCC unroll 3
                        for (int t = 0; t < 3; t++)
                            if (k >= t && k - t < TILE) {
                                const float16_t *at =
                                    weights_half + (3 * r + t) * CHANNELS + c + 8 * v;
                                sums[k - t][v] = r || t ? vfmaq_f16(sums[k - t][v], in, vld1q_f16(at))
                                                        : vmulq_f16(in, vld1q_f16(at));
                            }
                    }
#pragma GCC unroll 4
            for (int p = 0; p < TILE; p++)
                vst1q_s8(result + (x + p) * CHANNELS + c,
                         vcombine_s8(byte_of(sums[p][0], c), byte_of(sums[p][1], c + 8)));
        }
}

/* The bytes of three rows, four of each channel together: the fourth is multiplied by 0. */
static inline void columns_of(int x, int c, int8x16_t *fours)
{
    const int at = x * CHANNELS + c;
    int8x16_t top = vld1q_s8(rows8[0] + at), middle = vld1q_s8(rows8[1] + at);
    int8x16_t bottom = vld1q_s8(rows8[2] + at);
    int16x8_t low = vreinterpretq_s16_s8(vzip1q_s8(top, middle));
    int16x8_t high = vreinterpretq_s16_s8(vzip2q_s8(top, middle));
    int16x8_t low_bottom = vreinterpretq_s16_s8(vzip1q_s8(bottom, bottom));
    int16x8_t high_bottom = vreinterpretq_s16_s8(vzip2q_s8(bottom, bottom));
    fours[0] = vreinterpretq_s8_s16(vzip1q_s16(low, low_bottom));
    fours[1] = vreinterpretq_s8_s16(vzip2q_s16(low, low_bottom));
    fours[2] = vreinterpretq_s8_s16(vzip1q_s16(high, high_bottom));
    fours[3] = vreinterpretq_s8_s16(vzip2q_s16(high, high_bottom));
}

/* Maps of 8 bits: each column of three rows is one dot product for each of three pixels. */
static void sdot(void)
{
    for (int c = 0; c < CHANNELS; c += 16) {
        int8x16_t weights[3][4], fours[4];
        int32x4_t bias[4], sums[3][4];
        for (int q = 0; q < 4; q++) {
            bias[q] = vld1q_s32(bias32 + c + 4 * q);
            for (int t = 0; t < 3; t++)
                weights[t][q] = vld1q_s8(weights8[t] + 4 * (c + 4 * q));
        }
        columns_of(0, c, fours);
        for (int q = 0; q < 4; q++)
            sums[0][q] = vdotq_s32(bias[q], fours[q], weights[0][q]);
        columns_of(1, c, fours);
        for (int q = 0; q < 4; q++) {
            sums[0][q] = vdotq_s32(sums[0][q], fours[q], weights[1][q]);
            sums[1][q] = vdotq_s32(bias[q], fours[q], weights[0][q]);
        }
        for (int x = 0; x < WIDTH; x++) {
            columns_of(x + 2, c, fours);
#pragma GCC unroll 4
            for (int q = 0; q < 4; q++) {
                sums[0][q] = vdotq_s32(sums[0][q], fours[q], weights[2][q]);
                sums[1][q] = vdotq_s32(sums[1][q], fours[q], weights[1][q]);
                sums[2][q] = vdotq_s32(bias[q], fours[q], weights[0][q]);
            }
            int16x8_t low = vcombine_s16(vqrshrn_n_s32(sums[0][0], 3), vqrshrn_n_s32(sums[0][1], 3));
            int16x8_t high = vcombine_s16(vqrshrn_n_s32(sums[0][2], 3), vqrshrn_n_s32(sums[0][3], 3));
            vst1q_s8(result + x * CHANNELS + c,
                     vcombine_s8(vqrshrn_n_s16(low, 4), vqrshrn_n_s16(high, 4)));
            memcpy(sums[0], sums[1], 2 * sizeof sums[0]);
        }
    }
}

int main(int count, char **arguments)
{
    if (count != 2)
        return 2;
    void (*kernel)(void) = !strcmp(arguments[1], "sdot")      ? sdot
                           : !strcmp(arguments[1], "float16") ? half
                                                              : sqrdmlah;
    kernel();
    getpriority(MARK, 0);
    kernel();
    getpriority(MARK, 0);
    return result[0] & 1;
}
