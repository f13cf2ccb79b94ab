/*
 * The kill engine of ownerdead for C and C++: what is left in shared memory when a process dies at any machine instruction of an
 * operation (ownerdead_sweep), or is killed beside others that work (ownerdead_campaign).
 *
 * Linux, x86-64, glibc. The calling process must have one thread: the engine forks from it. Each function below runs in the process
 * that it is named for:
 *
 *   the caller    create, prepare
 *   a victim      attach, operation                  dies at some instruction of `operation`
 *   a survivor    arrive, recover, judge             comes new, after the death; may die in `recover` too (sweep)
 *   a worker      attach, operation, operation, ...  of a campaign
 *
 * Nothing may be decided by chance, by the time, or by addresses that differ from fork to fork. An operation must be a function that
 * the compiler does not inline. C++: no exception may leave a function.
 *
 * Link with libownerdead_c.a -lpthread -ldl -lm, and build what is swept with -g: places are told by function, file and line.
 */
#ifndef OWNERDEAD_H
#define OWNERDEAD_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Words that the engine keeps for the functions beside the memory under test: what was begun, what has returned. All 0 at first. They
 * are put back with the memory. In a campaign several workers write them at once. */
#define OWNERDEAD_FACTS 64

/* What recover and judge return: 0, or a kind of finding. */
enum ownerdead_kind {
    OWNERDEAD_FINE = 0,
    OWNERDEAD_LOST = 1,       /* something that was committed is gone */
    OWNERDEAD_TORN = 2,       /* something is half there */
    OWNERDEAD_DUPLICATED = 3, /* something came twice, or two have what one can have */
    OWNERDEAD_STUCK = 4,      /* somebody waits for ever */
    OWNERDEAD_CRASHED = 5,    /* a survivor crashed; found without help, too */
    OWNERDEAD_OTHER = 6
};

/* Where a function works. */
struct ownerdead_place {
    void *context;         /* of the subject */
    unsigned char *memory; /* shared, page-aligned, at one address in every process; zeroes before `create` */
    size_t length;         /* its bytes */
    uint64_t *facts;       /* OWNERDEAD_FACTS of them */
    unsigned worker;       /* in attach and operation of a campaign: the worker's number from 0, else 0 */
};

/* A structure, an operation to die in, and what must hold then. Functions marked "or NULL" may be left out. */
struct ownerdead_subject {
    size_t size; /* sizeof(struct ownerdead_subject): how the library knows which header you were built with */
    const char *name;
    void *context;
    size_t memory; /* bytes that it needs: at most 524,280 for a sweep. All are compared after each instruction: keep them few */

    /* Makes the structure. 0, or else it could not. */
    int (*create)(const struct ownerdead_place *);
    /* or NULL: a process that does this, and is killed then, before all others. */
    void (*prepare)(const struct ownerdead_place *);
    /* or NULL: what the operation works with; given to it as `with`. */
    void *(*attach)(const struct ownerdead_place *);
    void (*operation)(const struct ownerdead_place *, void *with);
    /* or NULL: what recover and judge work with. */
    void *(*arrive)(const struct ownerdead_place *);
    /* Takes over what the dead one left, in bounded time. `text`, of `room` bytes, is for what it met ("owner died", say) or found. */
    int (*recover)(const struct ownerdead_place *, void *with, char *text, size_t room);
    /* or NULL: whether all is as it must be after that. */
    int (*judge)(const struct ownerdead_place *, void *with, char *text, size_t room);
};

/* How a campaign holds those who live to going on after a death. */
enum ownerdead_survivors {
    OWNERDEAD_GO_ON = 0,      /* each finishes an operation, beside the others that live */
    OWNERDEAD_FINISH = 1,     /* each finishes the one that it is in, while nobody begins another: for locks */
    OWNERDEAD_WITH_OTHERS = 2 /* the dead are replaced first: for operations that wait for others */
};

/* 0 is for what is said behind it. */
struct ownerdead_options {
    size_t size;              /* sizeof(struct ownerdead_options) */
    const char *json;         /* a file for the report as JSON; NULL: none */
    unsigned most_found;      /* stops after so many findings (different ones, in a sweep): 3, in a campaign 10 */
    unsigned patience_ms;     /* what a survivor or worker may take before it is said to hang: 10,000 */
    unsigned no_second_death; /* sweep: 1: survivors do not die in recover */
    /* campaign */
    unsigned survivors; /* enum ownerdead_survivors */
    unsigned processes; /* 3 */
    unsigned threads;   /* in each: 1. With more, functions are called by several threads of one process at once */
    unsigned asleep_ms; /* who sleeps in a futex call for so long, with nobody awake, is stuck: 10,000 */
    uint64_t kills;     /* 1,000 */
    uint64_t seconds;   /* no limit */
    uint64_t seed;      /* of the instants */
};

/* Both print a report on standard output, and return 0: nothing found; 1: a finding; 2: incomplete; 69: it could not be run, and
 * standard error says why. `options` may be NULL. */
int ownerdead_sweep(const struct ownerdead_subject *subject, const struct ownerdead_options *options);
int ownerdead_campaign(const struct ownerdead_subject *subject, const struct ownerdead_options *options);

#ifdef __cplusplus
}
#endif

#endif
