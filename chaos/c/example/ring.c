/*
 * A ring of records in shared memory, one writer and one reader, swept: the writer is killed at each instruction of a push, and a
 * reader that comes new must find all records whose push had returned, and none that is half there.
 *
 * With -DBUG the writer publishes the index before the payload. `ci/c-interface.sh` builds and runs both.
 */
#include "ownerdead.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define SLOTS 8
#define WORDS 4

struct ring {
    _Atomic uint64_t head; /* records that were read */
    _Atomic uint64_t tail; /* records that are published */
    uint64_t slot[SLOTS][WORDS];
};

/* Facts: pushes that have returned. */
enum { PUSHED };

static struct ring *ring_of(const struct ownerdead_place *place) { return (struct ring *)place->memory; }

/* What record `number` must hold. */
static uint64_t word_of(uint64_t number, unsigned word) { return number * 1000 + word + 1; }

static void fill(struct ring *ring, uint64_t number) {
    for (unsigned word = 0; word < WORDS; word++) ring->slot[number % SLOTS][word] = word_of(number, word);
}

__attribute__((noinline)) static int push(struct ring *ring) {
    uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    if (tail - atomic_load_explicit(&ring->head, memory_order_acquire) == SLOTS) return 0;
#ifdef BUG
    atomic_store_explicit(&ring->tail, tail + 1, memory_order_release);
    atomic_signal_fence(memory_order_seq_cst);
    fill(ring, tail);
#else
    fill(ring, tail);
    atomic_store_explicit(&ring->tail, tail + 1, memory_order_release);
#endif
    return 1;
}

static int create(const struct ownerdead_place *place) {
    memset(place->memory, 0, sizeof(struct ring));
    return sizeof(struct ring) <= place->length ? 0 : 1;
}

static void *attach(const struct ownerdead_place *place) { return ring_of(place); }

static void operation(const struct ownerdead_place *place, void *with) {
    struct ring *ring = with;
    if (push(ring))
        place->facts[PUSHED] += 1;
    else
        /* Full, in a campaign: the oldest record is read. */
        atomic_fetch_add_explicit(&ring->head, 1, memory_order_release);
}

static int recover(const struct ownerdead_place *place, void *with, char *text, size_t room) {
    struct ring *ring = with;
    uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_acquire);
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    if (tail < place->facts[PUSHED]) {
        snprintf(text, room, "%llu pushes had returned, %llu records are there", (unsigned long long)place->facts[PUSHED],
                 (unsigned long long)tail);
        return OWNERDEAD_LOST;
    }
    for (; head < tail; head++) {
        for (unsigned word = 0; word < WORDS; word++) {
            if (ring->slot[head % SLOTS][word] != word_of(head, word)) {
                snprintf(text, room, "record %llu is published, and not whole", (unsigned long long)head);
                return OWNERDEAD_TORN;
            }
        }
        atomic_store_explicit(&ring->head, head + 1, memory_order_release);
    }
    snprintf(text, room, "%llu records", (unsigned long long)tail);
    return OWNERDEAD_FINE;
}

int main(int count, char **arguments) {
    struct ownerdead_subject subject = {
        .size = sizeof subject,
        .name = "a ring in C",
        .memory = sizeof(struct ring),
        .create = create,
        .attach = attach,
        .operation = operation,
        .arrive = attach,
        .recover = recover,
    };
    struct ownerdead_options options = {.size = sizeof options, .kills = 2000, .processes = 1};
    if (count > 2) options.json = arguments[2];
    if (count > 1 && strcmp(arguments[1], "campaign") == 0) return ownerdead_campaign(&subject, &options);
    return ownerdead_sweep(&subject, &options);
}
