/* smtpload: a load generator for SMTP servers, for benchmarks on one machine.
 *
 * Sends -n messages over -c connections at once, -m messages a connection, one command at a time or (-p) pipelined,
 * and prints rates and latencies as one line of JSON. One process, epoll, no allocation a message, so that it takes a
 * few microseconds of processor time a message and leaves the rest to the server that is measured.
 *
 * With -w FOLDER (repeated) it then waits until as many new files stand in those folders (Maildir "new") as recipients
 * were accepted, and prints that time too. With -H it opens -c connections, says EHLO on each, and holds them until its
 * standard input ends.
 *
 * Build: cc -O2 -o smtpload smtpload.c
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { MAX_WATCHED = 64, HEAD_SIZE = 8192, REPLY_SIZE = 8192, MAX_REFUSED = 200 };

/* What the next reply answers. */
enum step { GREETING, EHLO, MAIL, RCPT, DATA, DOT, QUIT, IDLE, CLOSED };

struct connection {
    int fd;
    enum step step;
    int in_session;       /* messages begun in this session */
    int recipients_left;  /* RCPT replies still to come */
    long number;          /* of the message under way */
    int wants_write;
    size_t reply_length;
    char reply[REPLY_SIZE];
    size_t head_length, head_sent; /* commands and header waiting to be sent */
    char head[HEAD_SIZE];
    int body_pending;     /* body and what follows it are to be sent after the head */
    size_t body_sent;
    size_t tail_length, tail_sent; /* "." and, pipelined, the next commands */
    char tail[HEAD_SIZE];
    double opened_at, dot_at;
};

static struct {
    struct sockaddr_in server, source;
    int has_source, connections, per_connection, recipients, accounts, is_pipelined, is_held;
    long messages;
    size_t size;
    double deadline;
    const char *sender, *recipient, *watched[MAX_WATCHED];
    int watched_count;
} option = {.connections = 20, .per_connection = 1, .recipients = 1, .accounts = 1, .messages = 1000, .size = 2048,
            .sender = "load@sender.test", .recipient = "user%d@example.test"};

static int poller;
static long begun, accepted, refused, open_count, held;
static char *body;
static size_t body_length;
static double *session_times, *dot_times;
static long session_count, dot_count;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void die(const char *what)
{
    fprintf(stderr, "smtpload: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void make_body(void)
{
    static const char line[] = "The quick brown fox jumps over the lazy dog, and the mail goes through it. 45\r\n";
    body_length = option.size;
    body = malloc(body_length + 2);
    if (!body)
        die("body");
    for (size_t i = 0; i < body_length; i++)
        body[i] = line[i % (sizeof line - 1)];
    if (body_length >= 2) {
        body[body_length - 2] = '\r';
        body[body_length - 1] = '\n';
    }
    /* a CR at the last place but two would be a bare one */
    for (size_t i = body_length > 4 ? body_length - 4 : 0; i + 2 < body_length; i++)
        if (body[i] == '\r' || body[i] == '\n')
            body[i] = '.';
}

static size_t put(char *at, size_t used, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(at + used, HEAD_SIZE - used, format, arguments);
    va_end(arguments);
    if (n < 0 || used + (size_t)n >= HEAD_SIZE) {
        fprintf(stderr, "smtpload: too many recipients for one message\n");
        exit(64);
    }
    return used + (size_t)n;
}

static size_t put_recipient(char *at, size_t used, long number, int i)
{
    char mailbox[256];
    snprintf(mailbox, sizeof mailbox, option.recipient, (int)((number + i) % option.accounts));
    return put(at, used, "RCPT TO:<%s>\r\n", mailbox);
}

static size_t put_envelope(char *at, size_t used, long number)
{
    used = put(at, used, "MAIL FROM:<%s>\r\n", option.sender);
    for (int i = 0; i < option.recipients; i++)
        used = put_recipient(at, used, number, i);
    return put(at, used, "DATA\r\n");
}

static size_t put_header(char *at, size_t used, long number)
{
    return put(at, used,
               "From: <%s>\r\nTo: undisclosed-recipients:;\r\nSubject: message %08ld\r\n"
               "Date: Tue, 24 Nov 2026 03:00:00 +0000\r\nMessage-ID: <%08ld.%d@sender.test>\r\n\r\n",
               option.sender, number, number, (int)getpid());
}

static void want_write(struct connection *c, int wants)
{
    if (c->wants_write == wants)
        return;
    c->wants_write = wants;
    struct epoll_event e = {.events = EPOLLIN | (wants ? EPOLLOUT : 0), .data.ptr = c};
    if (epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &e) < 0)
        die("epoll_ctl");
}

static void open_connection(struct connection *c)
{
    int yes = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        die("socket");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (option.has_source && bind(c->fd, (struct sockaddr *)&option.source, sizeof option.source) < 0)
        die("bind");
    c->opened_at = now();
    if (connect(c->fd, (struct sockaddr *)&option.server, sizeof option.server) < 0 && errno != EINPROGRESS)
        die("connect");
    c->step = GREETING;
    c->in_session = 0;
    c->reply_length = c->head_length = c->head_sent = c->tail_length = c->tail_sent = 0;
    c->body_pending = 0;
    c->wants_write = 0;
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &e) < 0)
        die("epoll_ctl");
    open_count++;
}

static void close_connection(struct connection *c)
{
    close(c->fd);
    c->step = CLOSED;
    open_count--;
    if (!option.is_held && begun < option.messages && refused < MAX_REFUSED)
        open_connection(c);
}

/* Send what waits: the head, then the body (shared by all), then the tail. */
static void flush_out(struct connection *c)
{
    for (;;) {
        struct iovec part[3];
        int parts = 0;
        if (c->head_sent < c->head_length)
            part[parts++] = (struct iovec){c->head + c->head_sent, c->head_length - c->head_sent};
        if (c->body_pending) {
            if (c->body_sent < body_length)
                part[parts++] = (struct iovec){body + c->body_sent, body_length - c->body_sent};
            if (c->tail_sent < c->tail_length)
                part[parts++] = (struct iovec){c->tail + c->tail_sent, c->tail_length - c->tail_sent};
        }
        if (!parts)
            break;
        ssize_t sent = writev(c->fd, part, parts);
        if (sent < 0) {
            if (errno == EAGAIN) {
                want_write(c, 1);
                return;
            }
            return; /* the read side will see the end */
        }
        size_t n = (size_t)sent, room = c->head_length - c->head_sent;
        size_t take = n < room ? n : room;
        c->head_sent += take;
        n -= take;
        if (c->body_pending) {
            room = body_length - c->body_sent;
            take = n < room ? n : room;
            c->body_sent += take;
            n -= take;
            c->tail_sent += n;
            if (c->body_sent == body_length && c->tail_sent == c->tail_length) {
                c->body_pending = 0;
                c->dot_at = now();
            }
        }
    }
    c->head_length = c->head_sent = 0;
    want_write(c, 0);
}

static void say(struct connection *c, const char *text)
{
    c->head_length = put(c->head, c->head_length, "%s", text);
}

/* Begin a message, if one is left for this session: true if so. Pipelined, its envelope stands in `into`. */
static int next_message(struct connection *c)
{
    if (begun >= option.messages || c->in_session >= option.per_connection)
        return 0;
    c->in_session++;
    begun++;
    return 1;
}

static void start_message(struct connection *c)
{
    if (!next_message(c)) {
        say(c, "QUIT\r\n");
        c->step = QUIT;
        return;
    }
    c->number = begun - 1;
    c->recipients_left = option.recipients;
    c->step = MAIL;
    if (option.is_pipelined)
        c->head_length = put_envelope(c->head, c->head_length, c->number);
    else
        c->head_length = put(c->head, c->head_length, "MAIL FROM:<%s>\r\n", option.sender);
}

static void send_content(struct connection *c)
{
    c->head_length = put_header(c->head, c->head_length, c->number);
    c->tail_length = put(c->tail, 0, ".\r\n");
    c->tail_sent = c->body_sent = 0;
    c->body_pending = 1;
    c->step = DOT;
    if (option.is_pipelined) { /* RFC 2920: what follows the content may go with it */
        if (next_message(c)) {
            c->number = begun - 1;
            c->tail_length = put_envelope(c->tail, c->tail_length, c->number);
        } else {
            c->number = -1;
            c->tail_length = put(c->tail, c->tail_length, "QUIT\r\n");
        }
    }
}

static void refuse(struct connection *c, const char *line)
{
    if (refused++ < 3)
        fprintf(stderr, "smtpload: step %d: %.200s\n", (int)c->step, line);
    if (option.is_pipelined && c->step == DOT && c->number >= 0)
        refused++; /* the one begun with the content is lost with it */
    close_connection(c);
}

static void replied(struct connection *c, const char *line)
{
    int code = atoi(line);
    enum step step = c->step;
    if (code / 100 != (step == DATA ? 3 : 2) && step != QUIT) {
        refuse(c, line);
        return;
    }
    switch (step) {
    case GREETING:
        say(c, "EHLO load.sender.test\r\n");
        c->step = EHLO;
        break;
    case EHLO:
        if (option.is_held) {
            c->step = IDLE;
            held++;
        } else {
            start_message(c);
        }
        break;
    case MAIL:
        c->step = RCPT;
        if (!option.is_pipelined)
            c->head_length = put_recipient(c->head, c->head_length, c->number, 0);
        break;
    case RCPT:
        if (--c->recipients_left > 0) {
            if (!option.is_pipelined)
                c->head_length = put_recipient(c->head, c->head_length, c->number,
                                               option.recipients - c->recipients_left);
            break;
        }
        c->step = DATA;
        if (!option.is_pipelined)
            say(c, "DATA\r\n");
        break;
    case DATA:
        send_content(c);
        break;
    case DOT:
        accepted++;
        dot_times[dot_count++] = now() - c->dot_at;
        if (!option.is_pipelined) {
            start_message(c);
        } else if (c->number >= 0) {
            c->recipients_left = option.recipients;
            c->step = MAIL;
        } else {
            c->step = QUIT;
        }
        break;
    case QUIT:
        if (c->in_session) /* not one that came too late for a message */
            session_times[session_count++] = now() - c->opened_at;
        close_connection(c);
        break;
    default:
        break;
    }
}

static void readable(struct connection *c)
{
    ssize_t n = read(c->fd, c->reply + c->reply_length, sizeof c->reply - 1 - c->reply_length);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        if (c->step == IDLE)
            held--;
        refuse(c, n < 0 ? strerror(errno) : "closed by the server");
        return;
    }
    c->reply_length += (size_t)n;
    c->reply[c->reply_length] = 0;
    int fd = c->fd;
    char *line = c->reply, *end;
    while ((end = memchr(line, '\n', c->reply_length - (size_t)(line - c->reply)))) {
        *end = 0;
        char *after = end + 1;
        if (end - line < 4 || line[3] != '-') {
            replied(c, line);
            if (c->fd != fd || c->step == CLOSED || (c->step == GREETING && c->reply_length == 0))
                return; /* another session already */
        }
        line = after;
    }
    size_t left = c->reply_length - (size_t)(line - c->reply);
    memmove(c->reply, line, left);
    c->reply_length = left;
    flush_out(c);
}

static long files_in_watched(void)
{
    long count = 0;
    for (int i = 0; i < option.watched_count; i++) {
        DIR *d = opendir(option.watched[i]);
        if (!d)
            continue;
        for (struct dirent *e; (e = readdir(d));)
            count += e->d_name[0] != '.';
        closedir(d);
    }
    return count;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double part_of(double *times, long count, double part)
{
    if (!count)
        return 0;
    long i = (long)(part * (double)count);
    return 1000 * times[i < count ? i : count - 1];
}

static struct sockaddr_in address_of(const char *text)
{
    struct sockaddr_in a = {.sin_family = AF_INET};
    char host[64];
    const char *colon = strchr(text, ':');
    snprintf(host, sizeof host, "%.*s", (int)(colon ? colon - text : (long)strlen(text)), text);
    a.sin_port = htons((unsigned short)(colon ? atoi(colon + 1) : 0));
    if (inet_pton(AF_INET, host, &a.sin_addr) != 1) {
        fprintf(stderr, "smtpload: not an address: %s\n", text);
        exit(64);
    }
    return a;
}

static void read_options(int argc, char **argv)
{
    static const char usage[] =
        "usage: smtpload -s ADDRESS:PORT [-b SOURCE] [-n messages] [-c connections] [-m messages a connection]\n"
        "                [-z octets] [-R recipients] [-r user%d@domain] [-u accounts] [-f sender] [-p] [-t seconds]\n"
        "                [-w FOLDER]... [-H]\n";
    int letter;
    double seconds = 120;
    while ((letter = getopt(argc, argv, "s:b:n:c:m:z:R:r:u:f:t:w:pH")) >= 0)
        switch (letter) {
        case 's': option.server = address_of(optarg); break;
        case 'b': option.source = address_of(optarg); option.has_source = 1; break;
        case 'n': option.messages = atol(optarg); break;
        case 'c': option.connections = atoi(optarg); break;
        case 'm': option.per_connection = atoi(optarg); break;
        case 'z': option.size = (size_t)atol(optarg); break;
        case 'R': option.recipients = atoi(optarg); break;
        case 'r': option.recipient = optarg; break;
        case 'u': option.accounts = atoi(optarg); break;
        case 'f': option.sender = optarg; break;
        case 't': seconds = atof(optarg); break;
        case 'p': option.is_pipelined = 1; break;
        case 'H': option.is_held = 1; break;
        case 'w':
            if (option.watched_count < MAX_WATCHED)
                option.watched[option.watched_count++] = optarg;
            break;
        default: fputs(usage, stderr); exit(64);
        }
    if (!option.server.sin_port || option.connections < 1 || option.per_connection < 1 || option.messages < 1) {
        fputs(usage, stderr);
        exit(64);
    }
    option.deadline = now() + seconds;
}

static void turn(int wait)
{
    struct epoll_event events[512];
    int n = epoll_wait(poller, events, 512, wait);
    for (int i = 0; i < n; i++) {
        struct connection *c = events[i].data.ptr;
        if (c->step != CLOSED && (events[i].events & EPOLLOUT))
            flush_out(c);
        if (c->step != CLOSED && (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
            readable(c);
    }
}

static int hold(struct connection *all)
{
    int opened = 0;
    while (held + refused < option.connections && now() < option.deadline) {
        while (opened < option.connections && opened - held < 100)
            open_connection(&all[opened++]);
        turn(100);
    }
    printf("{\"held\": %ld, \"refused\": %ld}\n", held, refused);
    fflush(stdout);
    char byte;
    while (read(0, &byte, 1) > 0)
        ;
    turn(0);
    printf("{\"held\": %ld, \"refused\": %ld}\n", held, refused);
    return refused != 0;
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    poller = epoll_create1(EPOLL_CLOEXEC);
    struct connection *all = calloc((size_t)option.connections, sizeof *all);
    session_times = calloc((size_t)option.messages + 1, sizeof *session_times);
    dot_times = calloc((size_t)option.messages + 1, sizeof *dot_times);
    if (poller < 0 || !all || !session_times || !dot_times)
        die("start");
    if (option.is_held)
        return hold(all);
    make_body();
    long before = files_in_watched();
    double start = now();
    for (int i = 0; i < option.connections; i++) {
        all[i].step = CLOSED;
        if (i < option.messages)
            open_connection(&all[i]);
    }
    while (open_count > 0 && now() < option.deadline)
        turn(1000);
    double taken = now() - start, drained = 0;
    long wanted = accepted * option.recipients, filed = 0;
    if (option.watched_count) {
        while ((filed = files_in_watched() - before) < wanted && now() < option.deadline)
            usleep(10000);
        drained = now() - start;
    }
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    double cpu = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                 (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
    qsort(session_times, (size_t)session_count, sizeof *session_times, compare);
    qsort(dot_times, (size_t)dot_count, sizeof *dot_times, compare);
    printf("{\"accepted\": %ld, \"refused\": %ld, \"seconds\": %.4f, \"rate\": %.1f, \"filed\": %ld, "
           "\"drain_seconds\": %.4f, \"drain_rate\": %.1f, \"megabytes_a_second\": %.1f, "
           "\"session_ms\": {\"p50\": %.2f, \"p99\": %.2f, \"max\": %.2f}, "
           "\"dot_ms\": {\"p50\": %.2f, \"p99\": %.2f, \"max\": %.2f}, \"cpu_us_a_message\": %.1f}\n",
           accepted, refused, taken, (double)accepted / taken, filed, drained,
           drained > 0 ? (double)accepted / drained : 0, (double)accepted * (double)option.size / 1e6 / taken,
           part_of(session_times, session_count, 0.5), part_of(session_times, session_count, 0.99),
           part_of(session_times, session_count, 1), part_of(dot_times, dot_count, 0.5),
           part_of(dot_times, dot_count, 0.99), part_of(dot_times, dot_count, 1),
           1e6 * cpu / (double)(accepted ? accepted : 1));
    int complete = accepted == option.messages && !refused && (!option.watched_count || filed == wanted);
    return complete ? 0 : 1;
}
