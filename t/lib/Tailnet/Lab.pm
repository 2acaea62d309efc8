package Tailnet::Lab;

# A private tailnet in network namespaces, for the tests in t/*.t and for
# t/lab/run. A Lab owns a directory for logs and state, a switch, the hosts on
# it and every process started in them; all of that goes with it, also after
# die() and on signals. It touches no interface, process or namespace that it
# did not make, and its hosts have no route out.

use strict;
use warnings;

use Carp qw(croak);
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Path qw(remove_tree);
use File::Spec;
use File::Temp qw(tempdir);
use Time::HiRes qw(time sleep);

use Tailnet::Lab::CA;
use Tailnet::Lab::Derper;
use Tailnet::Lab::Headscale;
use Tailnet::Lab::Host;
use Tailnet::Lab::Nginx;
use Tailnet::Lab::Pebble;
use Tailnet::Lab::Router;
use Tailnet::Lab::Switch;
use Tailnet::Lab::Tailscaled;
use Tailnet::Lab::Testcontrol;

my $ROOT = abs_path(dirname(__FILE__) . '/../../..');

# A test says how long something takes at most on a machine that is not busy
# with other things; before it fails it waits so many times as long.

our $PATIENCE = 4;

my %labs;      # those of this process that are still there
my $count = 0;


# Why no lab can be made here, or nothing.

sub obstacle {
    return 'network namespaces need root' if $> != 0;

    for my $program (qw(ip nft conntrack curl openssl setpriv)) {
        return "$program is not installed" unless find_program($program);
    }

    my $name = "tnl$$-try";
    my $out = `ip netns add $name 2>&1`;
    return "no network namespaces here: $out" if $?;
    system('ip', 'netns', 'del', $name);

    return 'there is no /dev/net/tun' unless -c '/dev/net/tun';

    return;
}


# For tests: skips all of the file where no lab can be made.

sub require_or_skip {
    my $why = obstacle();

    return unless defined $why;

    chomp $why;
    require Test::More;
    Test::More::plan(skip_all => $why);
}


# A test of the module without the module is a failed test.

sub require_module {
    my $file = Tailnet::Lab::Nginx::module_file();

    return if -e $file;

    require Test::More;
    Test::More::plan(tests => 1);
    Test::More::fail("$file is built");
    exit 1;
}


# new(): builds the peers first if they are not in the cache.
#   keep => 1, or TAILNET_LAB_KEEP=1: leaves the logs behind
#   switch => {...}: see Tailnet::Lab::Switch

sub new {
    my ($class, %opt) = @_;

    my $why = obstacle();
    croak "no lab: $why" if defined $why;

    sweep();

    my $self = bless {
        owner  => $$,
        prefix => sprintf('tnl%d%s-', $$, $count ? chr(96 + $count) : ''),
        keep   => $opt{keep} // $ENV{TAILNET_LAB_KEEP},
        hosts  => [],
        procs  => [],
        bin    => $opt{bin} // find_peers(),
    }, $class;

    $count++;
    $labs{$self->{prefix}} = $self;

    for my $signal (qw(INT TERM HUP)) {
        $SIG{$signal} //= \&on_signal;
    }

    $self->{dir} = tempdir("$self->{prefix}XXXXXX", TMPDIR => 1);
    chmod 0755, $self->{dir};

    $self->{ca} = Tailnet::Lab::CA->new($self->path('ca'));
    $self->{switch} = Tailnet::Lab::Switch->new($self, 'sw', %{
        $opt{switch} // {} });

    return $self;
}


sub root { return $ROOT }
sub dir { return $_[0]{dir} }
sub path { my $self = shift; return join '/', $self->{dir}, @_ }
sub prefix { return $_[0]{prefix} }
sub ca { return $_[0]{ca} }
sub switch { return $_[0]{switch} }


# A program of the real peers: tailscaled, headscale28, testcontrol, ...

sub bin {
    my ($self, $name) = @_;
    return "$self->{bin}/$name";
}


# A program or module of ours, from build/.

sub build {
    my ($self, $name) = @_;
    return ($ENV{TAILNET_BUILD} // "$ROOT/build") . "/$name";
}


sub find_peers {
    my $bin = `$ROOT/t/peers/build`;

    chomp $bin;
    croak 't/peers/build failed' if $? || !-d $bin;

    return $bin;
}


sub find_program {
    my ($name) = @_;

    for my $dir (split(/:/, $ENV{PATH}), '/usr/sbin', '/sbin') {
        return "$dir/$name" if -x "$dir/$name";
    }

    return;
}


# The parts of a tailnet; their own files say what they take and can do.

sub host {
    my ($self, $name, %opt) = @_;

    my $host = Tailnet::Lab::Host->new($self, $name, %opt);
    push @{$self->{hosts}}, $host;

    return $host;
}


sub router {
    my ($self, $name, %opt) = @_;

    my $router = Tailnet::Lab::Router->new($self, $name, %opt);
    push @{$self->{hosts}}, $router;

    return $router;
}


# Tells all on the switch, now and later, that a router has an IPv6 LAN.

sub add_route {
    my ($self, $to, $via, $router) = @_;

    push @{$self->{routes}}, { to => $to, via => $via, router => $router };
    $_->set_routes for grep { !$_->{behind} } @{$self->{hosts}};
}


sub headscale { my $l = shift; return Tailnet::Lab::Headscale->new($l, @_) }
sub derper { my $l = shift; return Tailnet::Lab::Derper->new($l, @_) }
sub testcontrol { my $l = shift; return Tailnet::Lab::Testcontrol->new($l, @_) }
sub tailscaled { my $l = shift; return Tailnet::Lab::Tailscaled->new($l, @_) }
sub nginx { my $l = shift; return Tailnet::Lab::Nginx->new($l, @_) }
sub pebble { my $l = shift; return Tailnet::Lab::Pebble->new($l, @_) }


# The tailnet that most tests need: infra (control and DERP), a peer with a
# real tailscaled and a web server, and web, where nginx under test is to run.
#   headscale => 28 | 29 or testcontrol => 1; tls => 1 for https control
#   tun => 0: the peer in userspace mode
#   infra, peer, web => {...}: options of these hosts
#   nat => { web => 'easy', peer => { kind => 'hard', v6 => 1 } }: routers
#     before them, see Tailnet::Lab::Router
#   progress => sub { say "..." }
# Returns { infra, derper, control, auth_key, peer (the tailscaled), peer_web
# (its nginx), web (a host) }. The peer is up, its name is "peer".

sub small_tailnet {
    my ($self, %opt) = @_;
    my $progress = $opt{progress} // sub { };
    my %t;

    $progress->('making namespaces');
    $t{infra} = $self->host('infra', %{$opt{infra} // {}});

    for my $name (sort keys %{$opt{nat} // {}}) {
        my $nat = $opt{nat}{$name};

        $t{router}{$name} = $self->router("r-$name",
            ref $nat ? %$nat : (kind => $nat));
        $opt{$name}{behind} = $t{router}{$name};
    }

    my $peer = $self->host('peer', %{$opt{peer} // {}});
    $t{web} = $self->host('web', %{$opt{web} // {}});

    $progress->('starting derper and the control server');
    $t{derper} = $self->derper(host => $t{infra});

    my %control = (host => $t{infra}, derp => [$t{derper}],
                   tls => $opt{tls}, %{$opt{control} // {}});
    $t{control} = $opt{testcontrol} ? $self->testcontrol(%control)
        : $self->headscale(%control, version => $opt{headscale} // 28);
    $t{auth_key} = $t{control}->auth_key;

    $progress->('starting a web server and tailscaled');
    $t{peer_web} = $self->nginx(host => $peer, http => <<'HTTP');
    server {
        listen 80;
        listen [::]:80;

        location = /connection {
            return 200 "$connection $remote_addr\n";
        }
    }
HTTP
    $t{peer_web}->write('html/index.html',
                        "Hello from the web server behind tailscaled.\n");
    $t{peer_web}->start;

    $t{peer} = $self->tailscaled(host => $peer, tun => $opt{tun} // 1);

    $progress->('joining tailscaled to the tailnet');
    $t{peer}->up(control => $t{control}, auth_key => $t{auth_key});

    return \%t;
}


# Waits until the code returns true and returns that; dies after the seconds,
# times $PATIENCE.

sub wait_for {
    my ($self, $seconds, $what, $code) = @_;
    my $end = time() + ($seconds *= $PATIENCE);

    while (1) {
        my $result = $code->();
        return $result if $result;

        croak "waited ${seconds}s in vain for $what" if time() >= $end;

        sleep(0.05);
    }
}


# Runs a command to its end, returns its output, dies if it fails.

sub run {
    my ($self, @command) = @_;

    my ($status, $output) = capture(@command);
    croak "@command: $output" if $status;

    return $output;
}


# (exit status, stdout and stderr together)

sub capture {
    my (@command) = @_;

    my $pid = open(my $out, '-|') // croak "fork: $!";

    if ($pid == 0) {
        open(STDIN, '<', '/dev/null');
        open(STDERR, '>&', \*STDOUT);
        exec { $command[0] } @command or print "exec $command[0]: $!";
        require POSIX;
        POSIX::_exit(127);
    }

    local $/;
    my $output = <$out> // '';
    close $out;

    return ($? == -1 ? 127 : $? & 127 ? 128 + ($? & 127) : $? >> 8, $output);
}


# Writes a file, with these permissions if they are said; returns its path.

sub write_file {
    my ($self, $path, $text, $mode) = @_;

    open(my $f, '>', $path) or croak "$path: $!";
    chmod $mode, $path if defined $mode;
    print $f $text;
    close $f or croak "$path: $!";

    return $path;
}


# The text of a file, '' when it cannot be read.

sub read_file {
    my ($self, $path) = @_;

    open(my $f, '<', $path) or return '';
    local $/;

    return scalar(<$f>) // '';
}


# Whether a process has ended; what waits for its parent has.

sub ended {
    my ($self, $pid) = @_;
    return $self->read_file("/proc/$pid/stat") !~ /\) [^ZX] /;
}


# A process of this lab from now on, which ends it.

sub adopt {
    my ($self, $process) = @_;
    push @{$self->{procs}}, $process;
    return $process;
}


# What of this lab's is still running, in its namespaces.

sub pids {
    my ($self) = @_;
    return map { $_->pids } @{$self->{hosts}}, $self->{switch} // ();
}


# Ends all of it, and removes what it made, as DESTROY does.

sub cleanup {
    my ($self) = @_;

    return if !$self->{prefix} || $self->{owner} != $$ || $self->{cleaned}++;

    # A second Ctrl-C must not leave half of it behind.

    local @SIG{qw(INT TERM HUP)} = ('IGNORE') x 3;

    # The youngest first: servers outlive their clients and log no errors.

    $_->terminate for reverse @{$self->{procs}};
    $_->reap(3) for reverse @{$self->{procs}};

    # Descendants that left their process groups: in our namespaces, so ours.
    # nginx's supervisor notices the end of nginx by itself within 1 s.

    my $end = time() + 3;
    sleep(0.05) while time() < $end && $self->pids;

    kill 'KILL', $self->pids;

    $_->delete for @{$self->{hosts}}, $self->{switch} // ();

    if ($self->{dir}) {
        if ($self->{keep}) {
            print STDERR "# the lab's files are kept in $self->{dir}\n";
        } else {
            remove_tree($self->{dir}, { error => \my $ignored });
        }
    }

    delete $labs{$self->{prefix}};
}


# What labs left whose process was killed before it could clean up.

sub sweep {
    for (`ip netns list`) {
        next unless /^((tnl(\d+)[a-z]?-)\S+)/;
        my ($name, $prefix, $pid) = ($1, $2, $3);

        next if -d "/proc/$pid" || `ip netns pids $name`;

        system("ip netns del $name 2>/dev/null");
        remove_tree("/etc/netns/$name",
                    glob(File::Spec->tmpdir . "/$prefix??????"));
    }
}


sub cleanup_all { $_->cleanup for values %labs }


sub on_signal {
    my ($signal) = @_;
    my %number = (HUP => 1, INT => 2, TERM => 15);

    cleanup_all();
    exit 128 + $number{$signal};
}


sub DESTROY {
    my ($self) = @_;
    local ($?, $@, $!);

    $self->cleanup;
}


END {
    local ($?, $@, $!);
    cleanup_all();
}


1;
