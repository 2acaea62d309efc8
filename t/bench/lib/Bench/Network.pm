package Bench::Network;

# A lab of one kind with all competitors up in it, and measurements of them:
# what a run of a load generator cost everybody.
#
#   lan     one switch
#   wan     the client is behind a link of 40 ms, 200 Mbit/s, 400 packets
#   lossy   the same, which loses 0.5% of the packets
#   derp    no UDP between the client and the others: only DERP carries

use strict;
use warnings;

use Carp qw(croak);
use JSON::PP ();
use Time::HiRes qw(sleep);

use Bench::Server;
use Bench::Usage;
use Tailnet::Lab;

my %LINK = (
    wan   => { delay => 20, rate => 200, queue => 400 },
    lossy => { delay => 20, rate => 200, queue => 400, loss => 0.5 },
);


# new($kind, servers => [kinds], say => sub { }, big_mb => 1000, limit => 60)

sub new {
    my ($class, $kind, %opt) = @_;
    my $self = bless { kind => $kind, %opt }, $class;
    my $lab = $self->{lab} = Tailnet::Lab->new;
    my $tailnet = $self->{tailnet} = $lab->small_tailnet(headscale => 29,
        tls => 1, progress => sub { $opt{say}->("$kind: ", @_) },
        $LINK{$kind} ? (peer => { wire => $LINK{$kind} }) : ());

    my $root = $self->{root} = $lab->path('root');
    mkdir $root or die "$root: $!\n";

    # Random, and on the disk before the first round, so that nothing is
    # written back during one; it stays in the page cache.

    $lab->run('dd', 'if=/dev/urandom', "of=$root/big", 'bs=1000000',
              "count=$opt{big_mb}", 'conv=fsync', 'status=none');
    $lab->run('dd', 'if=/dev/urandom', "of=$root/1k", 'bs=1024', 'count=1',
              'status=none');
    symlink "$root/big", $tailnet->{peer_web}->prefix . '/html/big'
        or die "big: $!\n";

    $self->{user} = $lab->host('user');

    for my $server (@{$opt{servers}}) {
        $opt{say}->("$kind: starting $server");
        push @{$self->{up}}, Bench::Server->start($server, lab => $lab,
            tailnet => $tailnet, root => $root);
    }

    $self->no_udp if $kind eq 'derp';
    $self->paths;

    return $self;
}


sub lab { return $_[0]{lab} }
sub tailnet { return $_[0]{tailnet} }
sub root { return $_[0]{root} }
sub servers { return @{$_[0]{up}} }
sub reached { return $_[0]{paths} }
sub end { $_[0]{lab}->cleanup }


# Nothing by UDP to and from the client but what stays on its host.

sub no_udp {
    my ($self) = @_;

    $self->{tailnet}{peer}->host->nft('table inet bench { '
        . 'chain in { type filter hook input priority 0; '
        . 'iifname "eth0" meta l4proto udp drop; }; '
        . 'chain out { type filter hook output priority 0; '
        . 'oifname "eth0" meta l4proto udp drop; }; }');
}


sub paths {
    my ($self) = @_;
    my $wanted = $self->{kind} eq 'derp' ? qr/derp/ : qr/direct/;

    for my $server (grep { $_->tunnelled } $self->servers) {
        my $path = $server->path(40, $wanted);

        $self->{say}->("$self->{kind}: ", $server->title,
                       " is reached by path $path");
        $self->{paths}{$server->kind} = $path;
    }
}


# Runs a load generator, by default at the client, and returns what it printed
# with what it cost: nginx_cpu, tunnel_cpu, server_cpu (both) and beyond_cpu
# (all of the machine but the load and its tunnel).
#   at => a host; into => a PID whose network namespace it runs in
#   aside => [PIDs that belong to the load's side]
#   partial => 1: the load may end before its response does

sub measure {
    my ($self, $server, $command, %opt) = @_;
    my ($lab, $peer) = ($self->{lab}, $self->{tailnet}{peer});
    my $at = $opt{at} // $peer->host;
    my @aside = ($peer->process->pid, @{$opt{aside} // []});
    my ($name, @args) = @$command;
    my @run = ($lab->build("t/bench/$name"), @args);

    @run = ('nsenter', "--net=/proc/$opt{into}/ns/net", @run) if $opt{into};

    my $aside = Bench::Usage::cpu(@aside);
    my $machine = Bench::Usage::machine();
    my $cpu = $server->cpu;

    my ($status, $output) = $opt{into} ? Tailnet::Lab::capture(@run)
        : $at->capture(@run);

    my $after = $server->cpu;
    my $machine_after = Bench::Usage::machine();
    my $r = result($output);

    my $ok = $r && ($status == 0 || $opt{partial} && $r->{errors} == 0);
    die "@$command of " . $server->title . ": $output" if !$ok;

    $r->{nginx_cpu} = $after->{nginx} - $cpu->{nginx};
    $r->{tunnel_cpu} = $after->{tunnel} - $cpu->{tunnel};
    $r->{server_cpu} = $r->{nginx_cpu} + $r->{tunnel_cpu};
    $r->{beyond_cpu} = $machine_after->{busy} - $machine->{busy}
        - $r->{cpu} - (Bench::Usage::cpu(@aside) - $aside);

    my $spent = $self->{spent} //= {};
    $spent->{others} += $r->{beyond_cpu} - $r->{server_cpu};
    $spent->{steal} += $machine_after->{steal} - $machine->{steal};
    $spent->{seconds} += $r->{seconds};

    return $r;
}


sub result {
    my ($output) = @_;
    my ($json) = $output =~ /^(\{.*\})$/m or return;

    return JSON::PP->new->decode($json);
}


# Our own node as the client: a host with nginx that only has a node. Returns
# the PID in whose namespace its connections begin, and all of its processes.

sub own_client {
    my ($self) = @_;
    my ($lab, $tailnet) = @{$self}{qw(lab tailnet)};

    $self->{end} //= do {
        my $host = $lab->host('end');
        my $nginx = $lab->nginx(host => $host, module => 1, level => 'notice');

        $nginx->configure(main => $nginx->tailnet_block($tailnet->{control},
            $tailnet->{auth_key}, hostname => 'end', extra => 'stack kernel;'),
            http => 'server { listen 80 tailnet=home; }');
        $nginx->start;
        my $peer = $tailnet->{peer}->wait_peer("end", 30);
        $tailnet->{peer}->wait_get("http://$peer->{TailscaleIPs}[0]/",
                                   seconds => 30);
        $host;
    };

    my @pids = Bench::Usage::of_host($self->{end}, Bench::Usage::ours($lab));
    my ($holder) = grep { Bench::Usage::name_of($_) eq 'tailnet-netns' } @pids;

    croak 'the client of our own has no namespace' unless $holder;

    return ($holder, @pids);
}


1;
