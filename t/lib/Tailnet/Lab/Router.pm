package Tailnet::Lab::Router;

# A home router of the lab: a host with one leg on the lab's switch and a LAN
# of its own behind it, which hosts join by host(..., behind => $router).
# Between the two are a NAT by nftables and a firewall that lets nothing in
# that was not asked for.

use strict;
use warnings;

use Carp qw(croak);

use Tailnet::Lab::Host;
use Tailnet::Lab::Switch;

our @ISA = ('Tailnet::Lab::Host');

# What the kinds do with UDP. Linux keeps a source port wherever it is free,
# and so the mapping is the same for each destination, while answers come in
# only from where something was sent to.

my %KINDS = (
    easy    => 'keeps the port; lets in answers only',
    cone    => 'keeps the port; lets in everybody who knows it',
    hard    => 'a random port for each destination; lets in answers only',
    blocked => 'keeps the port; forwards no UDP',
);


# new($lab, $name, kind => 'easy', v6 => 0, hairpin => 0, other options of a
#     Host)
#   hairpin: whoever is behind a cone reaches the others there by what it made
#     of them
#   v6: the LAN has IPv6 too, without NAT but behind the firewall; without
#     it the LAN has no IPv6 at all

sub new {
    my ($class, $lab, $name, %opt) = @_;
    my ($kind, $v6, $hairpin) = delete @opt{qw(kind v6 hairpin)};

    my $self = Tailnet::Lab::Host->new($lab, $name, %opt);
    bless $self, $class;

    my $n = ++$lab->{routers};

    $self->{hairpin} = $hairpin;

    $self->{v6} = $v6 ? "fd78:${n}::" : undef;
    $self->{lan} = Tailnet::Lab::Switch->new($lab, "$name-lan",
        v4 => "10.78.$n", v6 => $self->{v6});

    my ($lan4, $lan6) = $self->{lan}->next_addresses;

    $self->{lan_ip4} = $lan4 =~ s{/.*}{}r;

    $self->{lan}->plug($self, dev => 'eth1');
    $self->ip('addr', 'add', $lan4, 'dev', 'eth1');
    $self->ip('link', 'set', 'eth1', 'up');
    $self->sysctl('net/ipv4/ip_forward', 1);

    if ($v6) {
        $self->{lan_ip6} = $lan6 =~ s{/.*}{}r;
        $self->ip('addr', 'add', $lan6, 'dev', 'eth1', 'nodad');
        $self->sysctl('net/ipv6/conf/all/forwarding', 1);
        $lab->add_route("$self->{v6}/64", $self->ip6, $self);
    }

    $self->set_kind($kind // 'easy');

    return $self;
}


sub lan { return $_[0]{lan} }
sub lan_ip4 { return $_[0]{lan_ip4} }
sub lan_ip6 { return $_[0]{lan_ip6} }


# "net/ipv4/..." of this namespace.

sub sysctl {
    my ($self, $name, $value) = @_;
    $self->run('sh', '-c', "echo $value > /proc/sys/$name");
}


# Becomes a NAT of this kind; what is mapped stays so until forget().
#   ports => '20000-29999': mapped ports are of this range, for easy and hard

sub set_kind {
    my ($self, $kind, %opt) = @_;

    croak "no kind of NAT $kind" unless $KINDS{$kind};

    my $ports = $opt{ports} ? "meta l4proto { tcp, udp } masquerade to "
                              . ":$opt{ports}" : 'masquerade';
    $ports .= ' random,fully-random' if $kind eq 'hard';

    my $udp = $kind eq 'blocked' ? 'meta l4proto udp drop;' : '';
    my ($learn, $let_in, $turn) = ('', '', '');

    # Who behind the NAT used a port is told what comes to it. What a cone
    # lets in is marked by the translation.

    if ($kind eq 'cone') {
        $learn = 'iifname "eth1" meta nfproto ipv4 '
                 . 'update @inside { udp sport : ip saddr };';
        $let_in = 'iifname "eth0" meta nfproto ipv4 '
                  . 'dnat ip to udp dport map @inside;';

        if ($self->{hairpin}) {
            my $outside = $self->ip4;

            $let_in .= qq( iifname "eth1" ip daddr $outside )
                       . 'dnat ip to udp dport map @inside;';
            $turn = 'oifname "eth1" ct status dnat ip saddr '
                    . $self->lan_ip4 =~ s/\d+$/0\/24/r
                    . " snat ip to $outside;";
        }
    }

    $self->nft(<<"RULES");
table inet lab_nat {}
delete table inet lab_nat
table inet lab_nat {
    map inside {
        type inet_service : ipv4_addr
        flags dynamic, timeout
        timeout 5m
    }
    chain before {
        type nat hook prerouting priority dstnat;
        $let_in
    }
    chain after {
        type nat hook postrouting priority srcnat;
        oifname "eth0" meta nfproto ipv4 $ports
        $turn
    }
    chain through {
        type filter hook forward priority filter;
        $udp
        $learn
        iifname "eth0" ct status dnat accept
        iifname "eth0" ct state new,invalid drop
    }
    # An answer of the router itself would take the place of a mapping.
    chain here {
        type filter hook input priority filter;
        iifname "eth0" meta l4proto { tcp, udp } ct state new drop
    }
}
RULES
}


# Forgets all mappings and connections, as a restart does.

sub forget {
    my ($self) = @_;
    $self->run('conntrack', '-F');
}


sub pids {
    my ($self) = @_;
    return ($self->SUPER::pids, $self->{lan} ? $self->{lan}->pids : ());
}


sub delete {
    my ($self) = @_;

    $self->{lan}->delete if $self->{lan};
    $self->SUPER::delete;
}


1;
