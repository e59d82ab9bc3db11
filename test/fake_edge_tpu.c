/* SPDX-License-Identifier: Apache-2.0
 *
 * Stands in for libedgetpu.so.1: a delegate of TensorFlow Lite's external kind that takes no
 * operator, so that the interpreter computes all of them itself. It writes the options it was
 * created with to the file that FAKE_EDGE_TPU_LOG names, and finds no device where there is none.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

struct delegate {
  void *data;
  int (*prepare)(void *context, struct delegate *self);
  void *copy_from, *copy_to, *free_handle;
  int64_t flags;
  void *opaque;
};

static int take_nothing(void *context, struct delegate *self) { return 0; }

struct delegate *tflite_plugin_create_delegate(char **keys, char **values, size_t count,
                                               void (*report)(const char *)) {
  const char *path = getenv("FAKE_EDGE_TPU_LOG");
  FILE *log = path ? fopen(path, "w") : NULL;
  if (!log) {
    report("no Edge TPU");
    return NULL;
  }
  for (size_t i = 0; i < count; i++) fprintf(log, "%s=%s\n", keys[i], values[i]);
  fclose(log);
  struct delegate *made = calloc(1, sizeof *made);
  made->prepare = take_nothing;
  return made;
}

void tflite_plugin_destroy_delegate(struct delegate *made) { free(made); }
