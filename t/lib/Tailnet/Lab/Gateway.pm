package Tailnet::Lab::Gateway;

# Port mapping on a router of the lab: a real miniupnpd. It wants an address
# that is public, so the router gets one, which the hosts named reach.

use strict;
use warnings;

use Carp qw(croak);

my $PROGRAM = '/usr/sbin/miniupnpd';


# Why it cannot run here, or nothing.

sub obstacle {
    return -x $PROGRAM ? undef : "no $PROGRAM (t/lab/deps)";
}


# new($lab, $router, reached_by => [$other_router, ...])

sub new {
    my ($class, $lab, $router, %opt) = @_;
    my $n = ++$lab->{gateways};

    my $self = bless {
        lab     => $lab,
        router  => $router,
        public  => "11.22.33.$n",
        config  => $lab->path("miniupnpd-$n.conf"),
        name    => "miniupnpd-$n",
        pidfile => $lab->path("miniupnpd-$n.pid"),
    }, $class;

    $router->ip('addr', 'add', "$self->{public}/32", 'dev', 'eth0');
    $_->ip('route', 'add', "$self->{public}/32", 'via', $router->ip4)
        for @{$opt{reached_by} // []};

    $router->nft(<<'RULES');
table inet upnpd {
    chain forward {
        type filter hook forward priority 1;
        jump mapped
    }
    chain mapped { }
    chain before {
        type nat hook prerouting priority -99;
        jump inward
    }
    chain inward { }
    chain after {
        type nat hook postrouting priority 101;
        jump outward
    }
    chain outward { }
}
table inet spoken {
    chain in {
        type filter hook input priority 0;
        iifname "eth1" udp dport { 1900, 5351 } counter
    }
}
RULES

    return $self;
}


sub public { return $_[0]{public} }
sub process { return $_[0]{process} }


# Speaks these protocols from now on, of pcp, nat-pmp and upnp; it is started
# if it does not run. PCP and NAT-PMP share a port, and miniupnpd always
# speaks both: questions in the other are dropped.

sub speak {
    my ($self, @protocols) = @_;
    my %wanted = map { $_ => 1 } @protocols;
    my $router = $self->{router};

    $self->stop;

    my %version = (pcp => 2, 'nat-pmp' => 0);
    my @drop = map { "udp dport 5351 \@th,64,8 $version{$_} drop" }
        grep { !$wanted{$_} } sort keys %version;
    my $drop = join "\n        ", @drop;

    $router->nft(<<"RULES");
table inet versions {}
delete table inet versions
table inet versions {
    chain in {
        type filter hook input priority 1;
        $drop
    }
}
RULES

    my $yes = sub { (grep { $wanted{$_} } @_) ? 'yes' : 'no' };
    my $natpmp = $yes->('pcp', 'nat-pmp');
    my $upnp = $yes->('upnp');

    $self->{lab}->write_file($self->{config}, <<"CONF");
ext_ifname=eth0
ext_ip=$self->{public}
listening_ip=eth1
http_port=0
enable_natpmp=$natpmp
enable_upnp=$upnp
min_lifetime=120
max_lifetime=86400
upnp_table_name=upnpd
upnp_nat_table_name=upnpd
upnp_forward_chain=mapped
upnp_nat_chain=inward
upnp_nat_postrouting_chain=outward
secure_mode=yes
system_uptime=no
notify_interval=60
uuid=fc4ec57e-b051-11db-88f8-0060085db3f6
allow 1024-65535 0.0.0.0/0 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
CONF

    $self->start;
}


# With the protocols of speak().

sub start {
    my ($self) = @_;

    unlink $self->{pidfile};

    $self->{process} = $self->{router}->start($self->{name},
        [$PROGRAM, '-d', '-f', $self->{config}, '-P', $self->{pidfile}]);
    $self->{process}->wait_until(5, 'the pid file', sub {
        -e $self->{pidfile} });
}


# In order: it takes its mappings along.

sub stop {
    my ($self) = @_;
    my $process = delete $self->{process} // return;

    $process->stop;
}


# Without a word, and what it had told the kernel is gone, as when the power
# was.

sub kill {
    my ($self) = @_;
    my $process = delete $self->{process} // return;

    $process->signal('KILL');
    $self->{lab}->wait_for(5, 'the end of miniupnpd',
                           sub { !$process->alive });
    $self->{router}->run('nft', 'flush', 'chain', 'inet', 'upnpd', $_)
        for qw(mapped inward outward);
}


# Where the public port leads to, "address:port", or undef.

sub target {
    my ($self, $port) = @_;
    my $rules = $self->{router}->run('nft', '-n', 'list', 'chain', 'inet',
                                     'upnpd', 'inward');

    return $rules =~ /dport $port .*dnat ip to ([\d.]+:\d+)/ ? $1 : undef;
}


# How many packets have asked for anything.

sub questions {
    my ($self) = @_;
    my $rules = $self->{router}->run('nft', 'list', 'chain', 'inet', 'spoken',
                                     'in');

    return $rules =~ /counter packets (\d+)/ ? $1 : croak $rules;
}


1;
