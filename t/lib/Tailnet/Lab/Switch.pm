package Tailnet::Lab::Switch;

# A learning switch in a namespace of its own, and the faulty links (t/lab/wire)
# that can be put between it and a host.

use strict;
use warnings;

use Carp qw(croak);


# new($lab, $name, v4 => '10.77.0', v6 => 'fd77::'): /24 and /64; v6 => undef
# for none

sub new {
    my ($class, $lab, $name, %opt) = @_;

    my $self = bless {
        lab  => $lab,
        name => $name,
        ns   => $lab->prefix . $name,
        v4   => $opt{v4} // '10.77.0',
        v6   => exists $opt{v6} ? $opt{v6} : 'fd77::',
        next => 1,
    }, $class;

    $lab->run('ip', 'netns', 'add', $self->{ns});
    $self->ip('link', 'add', 'br0', 'type', 'bridge', 'forward_delay', 0);
    $self->sysctl('net/ipv6/conf/all/disable_ipv6', 1);
    $self->sysctl('net/ipv6/conf/default/disable_ipv6', 1);

    # a switch has no firewall; some kernels ask theirs for each frame
    for my $call (grep { -e "/proc/sys/net/bridge/$_" }
                  'bridge-nf-call-iptables', 'bridge-nf-call-ip6tables')
    {
        $self->sysctl("net/bridge/$call", 0);
    }

    $self->ip('link', 'set', 'br0', 'up');

    return $self;
}


sub ns { return $_[0]{ns} }


sub ip {
    my ($self, @args) = @_;
    return $self->{lab}->run('ip', '-n', $self->{ns}, @args);
}


# "net/ipv4/..." of this namespace.

sub sysctl {
    my ($self, $name, $value) = @_;

    $self->{lab}->run('ip', 'netns', 'exec', $self->{ns}, 'sh', '-c',
                      "echo $value > /proc/sys/$name");
}


# Addresses for the next host: (IPv4/24, IPv6/64 or undef).

sub next_addresses {
    my ($self) = @_;
    my $n = $self->{next}++;

    return ("$self->{v4}.$n/24",
            defined $self->{v6} ? sprintf('%s%x/64', $self->{v6}, $n) : undef);
}


# Plugs in a host; wire => { delay => 20, loss => 0.5, ... } makes its link
# faulty, see add_wire.

sub plug {
    my ($self, $host, %opt) = @_;
    my ($port, $dev) = ('p-' . $host->name, $opt{dev});

    $self->ip('link', 'add', $port, 'type', 'veth',
              'peer', 'name', $dev, 'netns', $host->ns);

    if ($opt{wire}) {
        $self->add_wire($host, $port, %{$opt{wire}}, dev => $dev);

    } else {
        $self->ip('link', 'set', $port, 'master', 'br0', 'up');
    }
}


# host -- p-NAME ==wire== a-NAME -- b-NAME -- br0. The first value of a pair
# is for frames from the host, the second for those to it.

my %WIRE_OPTION = (
    delay => '-d', loss => '-l', rate => '-r', queue => '-q', hold => '-h',
    reorder => '-o', duplicate => '-u', seed => '-s',
);

sub add_wire {
    my ($self, $host, $port, %opt) = @_;
    my ($near, $far) = map { $_ . $host->name } 'a-', 'b-';
    my $lab = $self->{lab};
    my $dev = delete $opt{dev};
    my @args;

    for my $fault (sort keys %opt) {
        my $option = $WIRE_OPTION{$fault} // croak "no fault $fault";
        my $value = $opt{$fault};
        push @args, $option, ref $value ? join(',', @$value) : $value;
    }

    $self->ip('link', 'add', $near, 'type', 'veth', 'peer', 'name', $far);

    # Frames of one packet each: neither sender may leave segmentation to us.

    $lab->run('ip', '-n', $host->ns, 'link', 'set', $dev, 'gso_max_segs', 1);
    $self->ip('link', 'set', $far, 'gso_max_segs', 1);
    $self->ip('link', 'set', $far, 'master', 'br0', 'up');
    $self->ip('link', 'set', $_, 'up') for $port, $near;

    my $wire = Tailnet::Lab::Process->start($lab, $self, 'wire-' . $host->name,
        [$lab->build('t/wire'), @args, $port, $near]);

    $wire->wait_log(5, qr/are joined/);

    return $self->{wires}{$host->name} = $wire;
}


# Statistics of a host's wire: { from => {...}, to => {...} }.

sub wire_stats {
    my ($self, $host) = @_;
    my $wire = $self->{wires}{$host->name} // croak 'no wire there';
    my $seen = length $wire->log;
    my @lines;

    $wire->signal('USR1');

    $self->{lab}->wait_for(5, 'statistics of a wire', sub {
        @lines = grep { /^wire: \S+>\S+ / && /in_flight=\d+$/ }
            split /\n/, substr($wire->log, $seen);
        return @lines == 2;
    });

    my ($from, $to) = map { +{ /(\w+)=(\d+)/g } } @lines;

    return { from => $from, to => $to };
}


sub pids {
    my ($self) = @_;
    return split ' ', `ip netns pids $self->{ns} 2>/dev/null`;
}


sub delete {
    my ($self) = @_;
    Tailnet::Lab::capture('ip', 'netns', 'del', $self->{ns});
}


1;
