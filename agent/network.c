#include "network.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "device.h"

/* Requests to the kernel, which are sent together and answered one by one. */
struct batch {
    _Alignas(struct nlmsghdr) unsigned char data[2048];
    size_t size;
    unsigned int count;
    struct nlmsghdr *last;
};

static void *add_request(struct batch *batch, uint16_t type, uint16_t flags, const void *head,
                         size_t size)
{
    struct nlmsghdr *request = (void *)(batch->data + batch->size);
    *request = (struct nlmsghdr){
        .nlmsg_len = (uint32_t)NLMSG_LENGTH(size),
        .nlmsg_type = type,
        .nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags),
        .nlmsg_seq = batch->count++,
    };
    memcpy(NLMSG_DATA(request), head, size);
    batch->size += NLMSG_ALIGN(request->nlmsg_len);
    batch->last = request;
    return request;
}

static void add_attribute(struct batch *batch, uint16_t type, const void *value, size_t size)
{
    struct rtattr *attribute = (void *)(batch->data + batch->size);
    attribute->rta_type = type;
    attribute->rta_len = (uint16_t)RTA_LENGTH(size);
    memcpy(RTA_DATA(attribute), value, size);
    batch->size += RTA_ALIGN(attribute->rta_len);
    batch->last->nlmsg_len = (uint32_t)((unsigned char *)batch->data + batch->size
                                        - (unsigned char *)batch->last);
}

static void add_link(struct batch *batch, int index, unsigned int flags, const char *name,
                     uint32_t mtu)
{
    struct ifinfomsg head = { .ifi_index = index, .ifi_flags = flags, .ifi_change = flags };
    add_request(batch, RTM_NEWLINK, 0, &head, sizeof head);
    if (name != NULL)
        add_attribute(batch, IFLA_IFNAME, name, strlen(name) + 1);
    if (mtu != 0)
        add_attribute(batch, IFLA_MTU, &mtu, sizeof mtu);
}

/* Read an address of either family; its size, or 0. */
static size_t parse(const char *text, unsigned char address[16], unsigned char *family)
{
    *family = strchr(text, ':') != NULL ? AF_INET6 : AF_INET;
    return inet_pton(*family, text, address) != 1 ? 0 : *family == AF_INET6 ? 16 : 4;
}

static int add_address(struct batch *batch, int index, const char *text, uint64_t prefix,
                       struct failure *failure)
{
    unsigned char address[16], family;
    size_t size = parse(text, address, &family);
    if (size == 0 || prefix > 8 * size)
        return fail(failure, INVALID, "%s/%u is no address", text, (unsigned int)prefix);
    struct ifaddrmsg head = { .ifa_family = family,
                              .ifa_prefixlen = (unsigned char)prefix,
                              .ifa_index = (unsigned int)index };
    /* Who handed it out knows that nobody else has it. */
    if (family == AF_INET6)
        head.ifa_flags = IFA_F_NODAD;
    add_request(batch, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, &head, sizeof head);
    add_attribute(batch, IFA_LOCAL, address, size);
    add_attribute(batch, IFA_ADDRESS, address, size);
    if (family == AF_INET && prefix < 31) {
        uint32_t whole;
        memcpy(&whole, address, sizeof whole);
        whole |= htonl(prefix == 0 ? UINT32_MAX : UINT32_MAX >> prefix);
        add_attribute(batch, IFA_BROADCAST, &whole, sizeof whole);
    }
    return 0;
}

static int add_gateway(struct batch *batch, int index, const char *text, struct failure *failure)
{
    unsigned char address[16], family;
    size_t size = parse(text, address, &family);
    if (size == 0)
        return fail(failure, INVALID, "%s is no gateway's address", text);
    struct rtmsg head = { .rtm_family = family,
                          .rtm_table = RT_TABLE_MAIN,
                          .rtm_protocol = RTPROT_BOOT,
                          .rtm_scope = RT_SCOPE_UNIVERSE,
                          .rtm_type = RTN_UNICAST };
    add_request(batch, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, &head, sizeof head);
    add_attribute(batch, RTA_GATEWAY, address, size);
    add_attribute(batch, RTA_OIF, &index, sizeof index);
    return 0;
}

/* Send the batch, and wait for all its answers. */
static int send_batch(struct batch *batch, const char *what, struct failure *failure)
{
    _Alignas(struct nlmsghdr) unsigned char answers[8192];
    struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
    int netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    int refused = 0;
    if (netlink < 0
        || sendto(netlink, batch->data, batch->size, 0, (void *)&kernel, sizeof kernel) < 0)
        refused = errno;
    for (unsigned int answered = 0; refused == 0 && answered < batch->count;) {
        ssize_t size = recv(netlink, answers, sizeof answers, 0);
        if (size < 0) {
            refused = errno;
            break;
        }
        unsigned int left = (unsigned int)size;
        for (struct nlmsghdr *answer = (void *)answers; NLMSG_OK(answer, left);
             answer = NLMSG_NEXT(answer, left)) {
            const struct nlmsgerr *error = NLMSG_DATA(answer);
            answered++;
            if (answer->nlmsg_type == NLMSG_ERROR && error->error != 0 && refused == 0)
                refused = -error->error;
        }
    }
    close(netlink);
    errno = refused;
    return refused == 0 ? 0 : fail_errno(failure, "%s", what);
}

static int set_up_card(struct bytes card, struct failure *failure)
{
    struct batch batch = { .size = 0 };
    char *mac = record_text(card, MAC), *name = record_text(card, NAME), found[IFNAMSIZ];
    struct field field;
    if (mac == NULL || name == NULL || strlen(name) >= IFNAMSIZ)
        return fail(failure, INVALID, "a network card's fields");
    if (device_of_card(mac, found, failure) < 0)
        return -1;
    int index = (int)if_nametoindex(found);
    /* The name first: no card that is up can be renamed. */
    if (name[0] != 0 && strcmp(name, found) != 0)
        add_link(&batch, index, 0, name, 0);
    add_link(&batch, index, IFF_UP, NULL, (uint32_t)record_number(card, MTU));
    /* A card may have an address and gateway of each family; a prefix follows its address. */
    struct bytes rest = card, address = { NULL, 0 };
    while (record_next(&rest, &field)) {
        if (field.tag == ADDRESS)
            address = field.value;
        if (field.tag != PREFIX && field.tag != GATEWAY)
            continue;
        char *text = bytes_text(field.tag == PREFIX ? address : field.value);
        if (text == NULL || batch.size > sizeof batch.data - 256)
            return fail(failure, INVALID, "a network card's addresses");
        int done = text[0] == 0           ? 0
                   : field.tag == GATEWAY ? add_gateway(&batch, index, text, failure)
                                          : add_address(&batch, index, text,
                                                        bytes_number(field.value), failure);
        free(text);
        if (done < 0)
            return -1;
    }
    int done = send_batch(&batch, name[0] != 0 ? name : found, failure);
    free(mac);
    free(name);
    return done;
}

int network_setup(struct bytes record, struct failure *failure)
{
    struct batch loopback = { .size = 0 };
    struct field field;
    add_link(&loopback, (int)if_nametoindex("lo"), IFF_UP, NULL, 0);
    if (send_batch(&loopback, "lo", failure) < 0)
        return -1;
    while (record_next(&record, &field))
        if (field.tag == NETWORK && set_up_card(field.value, failure) < 0)
            return -1;
    return 0;
}

static void add_removals(struct batch *batch, int index, struct bytes card)
{
    struct field field;
    while (record_next(&card, &field)) {
        char *text = field.tag == ADDRESS ? bytes_text(field.value) : NULL;
        unsigned char address[16], family;
        size_t size = text != NULL ? parse(text, address, &family) : 0;
        free(text);
        if (size == 0 || batch->size > sizeof batch->data - 256)
            continue;
        struct ifaddrmsg head = { .ifa_family = family, .ifa_index = (unsigned int)index };
        add_request(batch, RTM_DELADDR, 0, &head, sizeof head);
        add_attribute(batch, IFA_LOCAL, address, size);
    }
}

static int take_down_card(struct bytes card, struct failure *failure)
{
    struct batch batch = { .size = 0 };
    char *mac = record_text(card, MAC), found[IFNAMSIZ];
    int known = mac != NULL ? device_of_card(mac, found, failure) : -1;
    free(mac);
    if (known < 0)
        return -1;
    int index = (int)if_nametoindex(found);
    add_removals(&batch, index, card);
    struct ifinfomsg head = { .ifi_index = index, .ifi_change = IFF_UP };
    add_request(&batch, RTM_NEWLINK, 0, &head, sizeof head);
    return send_batch(&batch, found, failure) < 0 ? -1 : device_restore_card(found, failure);
}

int network_forget(struct bytes record, struct failure *failure)
{
    struct field field;
    while (record_next(&record, &field))
        if (field.tag == NETWORK && take_down_card(field.value, failure) < 0)
            return -1;
    return 0;
}
