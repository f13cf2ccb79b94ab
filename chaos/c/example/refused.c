/* What the interface says to a subject that is none: 69, and never a crash. */
#include "ownerdead.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int create(const struct ownerdead_place *place) { return place->length ? 0 : 1; }
static int fails(const struct ownerdead_place *place) { return (int)place->length; }
static void operation(const struct ownerdead_place *place, void *with) { (void)place, (void)with; }
static int recover(const struct ownerdead_place *place, void *with, char *text, size_t room) {
    (void)place, (void)with;
    /* Longer than there is room: the library keeps an end to it. */
    memset(text, 'x', room);
    return OWNERDEAD_FINE;
}

static int failed;

static void expect(const char *what, int found, int expected) {
    printf("%s: %d\n", what, found);
    failed |= found != expected;
}

static void *wait_for_ever(void *nothing) {
    pause();
    return nothing;
}

int main(void) {
    struct ownerdead_subject good = {
        .size = sizeof good, .name = "nothing", .memory = 8, .create = create, .operation = operation, .recover = recover};
    struct ownerdead_subject subject = good;
    struct {
        struct ownerdead_subject known;
        uint64_t more;
    } newer = {good, 0};

    expect("NULL", ownerdead_sweep(NULL, NULL), 69);
    expect("a good one", ownerdead_sweep(&good, NULL), 0);
    subject.size = 0;
    expect("no size", ownerdead_sweep(&subject, NULL), 69);
    newer.known.size = sizeof newer;
    expect("of a newer header, nothing new in it", ownerdead_sweep(&newer.known, NULL), 0);
    newer.more = 1;
    expect("of a newer header", ownerdead_sweep(&newer.known, NULL), 69);
    /* Of an older one, before there was `judge`. */
    subject = good;
    subject.size = offsetof(struct ownerdead_subject, judge);
    subject.judge = (int (*)(const struct ownerdead_place *, void *, char *, size_t))abort;
    expect("of an older header", ownerdead_sweep(&subject, NULL), 0);
    subject = good;
    subject.operation = NULL;
    expect("no operation", ownerdead_campaign(&subject, NULL), 69);
    subject = good;
    subject.create = fails;
    expect("create fails", ownerdead_sweep(&subject, NULL), 69);
    subject = good;
    subject.memory = 1 << 20;
    expect("too large", ownerdead_sweep(&subject, NULL), 69);
    struct ownerdead_options options = {.size = sizeof options, .survivors = 9};
    expect("no such survivors", ownerdead_campaign(&good, &options), 69);
    options = (struct ownerdead_options){.size = sizeof options, .json = "/no/such/directory/report.json"};
    expect("a report that cannot be written", ownerdead_sweep(&good, &options), 69);
    pthread_t thread;
    if (pthread_create(&thread, NULL, wait_for_ever, NULL) == 0) expect("two threads", ownerdead_sweep(&good, NULL), 69);
    puts(failed ? "some were taken otherwise" : "all were taken as they should be");
    return failed;
}
