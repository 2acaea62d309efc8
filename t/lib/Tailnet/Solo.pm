package Tailnet::Solo;

# The distribution's nginx with our module in a directory of its own, on this
# host's loopback, without a lab: for what needs no tailnet. Everything it
# started ends with the object, also after die().

use strict;
use warnings;

use Carp qw(croak);
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Copy qw(copy);
use File::Path qw(make_path);
use File::Temp qw(tempdir);
use POSIX ();
use Scalar::Util qw(weaken);
use Time::HiRes qw(time sleep);

use Tailnet::Port;

my $ROOT = abs_path(dirname(__FILE__) . '/../../..');

my $user = 'www-data';
my $count = 0;
my @all;


# The program of load_start(): HTTP/1.0, one connection a request.

my $ASK = <<'ASK';
use strict;
use IO::Socket::INET;
my ($address, $body, $file) = @ARGV;
my ($end, %seen);
$SIG{TERM} = sub { $end = 1 };
open my $out, '>', $file or die;
until ($end) {
    my $what = 'connect';
    if (my $s = IO::Socket::INET->new(PeerAddr => $address, Timeout => 5)) {
        local $SIG{PIPE} = 'IGNORE';
        print {$s} "GET / HTTP/1.0\r\n\r\n";
        local $/;
        my $got = <$s>;
        $what = !defined $got || $got eq '' ? 'no answer'
            : $got =~ /\AHTTP\/1.1 200.*\Q$body\E\z/s ? 'good' : 'answer';
    }
    $seen{$what}++;
    select undef, undef, undef, 0.002;
}
print {$out} "$seen{$_} $_\n" for sort keys %seen;
ASK


# new(env => {...}, user => 0)
#   env: environment of nginx; user: run all of it as nginx's user, not root

sub new {
    my ($class, %opt) = @_;

    my $self = bless {
        env    => $opt{env} // {},
        binary => find_nginx(),
        build  => abs_path($ENV{TAILNET_BUILD} // "$ROOT/build"),
        static => $ENV{TEST_NGINX_STATIC},
        user   => $opt{user},
        owner  => $$,
    }, $class;

    $self->{node} = "t$$-" . ++$count;
    $self->{dir} = tempdir('tailnet-solo-XXXXXX', TMPDIR => 1,
                           CLEANUP => 1);
    chmod 0755, $self->{dir};

    weaken($all[@all] = $self);

    make_path(map { "$self->{dir}/$_" } qw(conf html logs tmp));

    if ($opt{user}) {
        my ($uid, $gid) = (getpwnam $user)[2, 3];

        # nginx's user may have no way to where this tree is.

        if (-e $self->module) {
            copy("$self->{build}/$_", "$self->{dir}/$_")
                && chmod 0755, "$self->{dir}/$_" or croak "$_: $!"
                for qw(ngx_tailnet_module.so ngx_tailnet_core
                       ngx_tailnet_super);
            $self->{build} = $self->{dir};
        }

        chown $uid, $gid, $self->{dir},
            map { "$self->{dir}/$_" } qw(conf html logs tmp);
    }

    return $self;
}


# With its path: an upgrade executes it by what it was started with.

sub find_nginx {
    my ($found) = grep { -x } map { "$_/nginx" } split(/:/, $ENV{PATH}),
        '/usr/sbin', '/usr/local/sbin';

    return $ENV{TEST_NGINX_BINARY} // $found // 'nginx';
}


sub dir { return $_[0]{dir} }

# A name for a node that no other test has at this time.
sub node { return $_[0]{node} }

sub module { return "$_[0]{build}/ngx_tailnet_module.so" }
sub run_dir { return "$_[0]{dir}/logs/nginx.pid.tailnet" }


# Compiles a module of somebody else for the nginx that ours was built for;
# returns as system() does.

sub compile {
    my ($self, $source, $object) = @_;
    my @include = map { "-I$self->{build}/nginx/$_" } 'objs', map { "src/$_" }
        qw(core event event/modules event/quic os/unix http http/modules
           http/v2 http/v3);

    return system('cc', '-shared', '-fPIC', @include, '-o', $object, $source);
}


sub write {
    my ($self, $name, $text, $mode) = @_;
    my $path = "$self->{dir}/$name";

    make_path(dirname($path));
    open my $fh, '>', $path or croak "$path: $!";
    print {$fh} $text;
    close $fh or croak "$path: $!";
    chmod $mode, $path if defined $mode;

    return $path;
}


sub read {
    my ($self, $name) = @_;

    open my $fh, '<', "$self->{dir}/$name" or return '';
    local $/;

    return scalar <$fh> // '';
}


# Writes nginx.conf. The first line of the text is line 2 of the file, and
# %%DIR%% and %%NODE%% in it stand for the directory and node().

sub configure {
    my ($self, $text, %opt) = @_;
    my $load = $self->{static} || $opt{without} ? '#'
        : 'load_module ' . $self->module . ';';

    $text =~ s/%%DIR%%/$self->{dir}/g;
    $text =~ s/%%NODE%%/$self->{node}/g;

    $self->write('conf/nginx.conf', "$load\n$text");
}


# Paths that an http block needs to keep inside of the directory.

sub http_paths {
    return 'access_log logs/access.log; '
           . join ' ', 'client_body_temp_path tmp/body;',
               map { "${_}_temp_path tmp/$_;" } qw(proxy fastcgi uwsgi scgi);
}


sub command {
    my ($self, @args) = @_;

    # Without root it takes a /dev/net/tun that everybody may open: one of its
    # own, the host's is not touched.

    my $tun = 'mount -t tmpfs none /dev/net && mknod -m 666 /dev/net/tun '
              . 'c 10 200 && exec "$@"';
    my @as = $self->{user}
        ? (qw(unshare -m sh -c), $tun, 'sh', 'setpriv', "--reuid=$user",
           "--regid=$user", '--clear-groups') : ();
    my $level = $self->{level} // 'info';

    return (@as, 'env', (map { "$_=$self->{env}{$_}" }
                         sort keys %{$self->{env}}),
            $self->{binary}, '-p', "$self->{dir}/", '-c', 'conf/nginx.conf',
            '-e', 'logs/error.log',
            '-g', "pid logs/nginx.pid; error_log logs/error.log $level;",
            @args);
}


# (status, output) of nginx with these arguments, to its end.

sub run {
    my ($self, @args) = @_;

    my $pid = open(my $fh, '-|') // croak "fork: $!";

    if (!$pid) {
        open STDERR, '>&', \*STDOUT;
        exec $self->command(@args) or POSIX::_exit(127);
    }

    local $/;
    my $out = <$fh> // '';
    close $fh;

    return ($? >> 8, $out);
}


# Starts it in the background and waits for the pid file.

sub start {
    my ($self) = @_;

    my ($status, $out) = $self->run;
    croak "nginx did not start: $out" if $status;

    $self->wait_for(10, 'the pid file', sub { $self->pid });

    return $self;
}


sub pid {
    my ($self, $name) = @_;
    my $text = $self->read($name // 'logs/nginx.pid');

    return $text =~ /^(\d+)$/ ? $1 : undef;
}


sub signal {
    my ($self, $signal, $name) = @_;
    my $pid = $self->pid($name) // croak 'nginx does not run';

    kill $signal, $pid or croak "kill $pid: $!";
}


# HUP, and waits for workers of the new configuration.

sub reload {
    my ($self) = @_;
    my $pid = $self->pid;
    my %old = map { $_ => 1 } children($pid);

    kill 'HUP', $pid;
    $self->wait_for(15, 'new workers', sub {
        grep { !$old{$_} && cmdline($_) =~ /worker process$/ } children($pid);
    });
}


sub quit {
    my ($self, $seconds) = @_;
    my $pid = $self->pid // return 1;

    kill 'QUIT', $pid;

    return eval { $self->wait_for($seconds // 15, 'the end of nginx',
                                  sub { !alive($pid) }) };
}


# Whether a process runs; what nobody waits for does not.

sub alive {
    my ($pid) = @_;

    open my $fh, '<', "/proc/$pid/stat" or return 0;

    return scalar(<$fh> // '') =~ /\) [^ZX] / ? 1 : 0;
}


# Dies after the seconds, times what Tailnet::Lab's waiting has, too: so long
# it takes on a machine that is not busy with other things.

sub wait_for {
    my ($self, $seconds, $what, $check) = @_;
    my $end = time() + ($seconds *= 4);

    for (;;) {
        my $rc = $check->();
        return $rc if $rc;
        croak "no $what in $seconds s\n" . $self->error_log if time() > $end;
        sleep 0.05;
    }
}


sub error_log { return $_[0]->read('logs/error.log') }


# Lines of the error log that match.

sub errors {
    my ($self, $regex) = @_;
    return grep { /$regex/ } split /\n/, $self->error_log;
}


# The body of http://$address/..., or what was wrong. Inside of the namespace
# of a node when it is named.

sub get {
    my ($self, $address, $node) = @_;
    my @command = ('curl', '-sS', '--max-time', 5, "http://$address");

    if (defined $node) {
        my $pid = $self->holder($node) // return "no namespace of $node";
        unshift @command, 'nsenter', '-t', $pid, '-n';
        splice @command, 3, 0, '-U', '--preserve-credentials'
            if $self->{user};
    }

    my $pid = open(my $fh, '-|') // croak "fork: $!";

    if (!$pid) {
        open STDERR, '>&', \*STDOUT;
        exec @command or POSIX::_exit(127);
    }

    local $/;
    my $out = <$fh> // '';
    close $fh;

    return $out;
}


# The process that keeps the namespace of a node.

sub holder {
    my ($self, $node) = @_;

    return (grep { cmdline($_) =~ / holder \Q$node\E\b/ }
            $self->processes('tailnet-netns'))[0];
}


# Asks again and again, four at a time, in the namespace of a node, until
# load_stop(), which returns the numbers of answers and of failures, and what
# the failures were.

sub load_start {
    my ($self, $address, $node, $body) = @_;
    my $holder = $self->holder($node) // croak "no namespace of $node";

    for my $n (1 .. 4) {
        my $pid = fork // croak "fork: $!";

        if ($pid) {
            push @{$self->{load}}, $pid;
            next;
        }

        exec 'nsenter', '-t', $holder, '-n', $^X, '-e', $ASK, $address,
            $body, "$self->{dir}/load.$n" or POSIX::_exit(127);
    }

    $self->wait_for(5, 'load', sub { -e "$self->{dir}/load.4" });
}


sub load_stop {
    my ($self) = @_;
    my ($good, $bad, %why) = (0, 0);

    my @pids = splice @{$self->{load}};

    kill 'TERM', @pids;
    waitpid $_, 0 for @pids;

    for my $n (1 .. 4) {
        for my $line (split /\n/, $self->read("load.$n")) {
            my ($count, $what) = $line =~ /^(\d+) (.*)/ or next;

            if ($what eq 'good') {
                $good += $count;
            } else {
                $bad += $count;
                $why{$what} += $count;
            }
        }
        unlink "$self->{dir}/load.$n";
    }

    return ($good, $bad, join ', ', map { "$_: $why{$_}" } sort keys %why);
}


sub children {
    my ($pid) = @_;

    open my $fh, '<', "/proc/$pid/task/$pid/children" or return;

    return split ' ', scalar <$fh> // '';
}


sub cmdline {
    my ($pid) = @_;

    open my $fh, '<', "/proc/$pid/cmdline" or return '';
    local $/;

    return join ' ', split /\0/, scalar <$fh> // '';
}


sub comm {
    my ($pid) = @_;

    open my $fh, '<', "/proc/$pid/comm" or return '';
    my $comm = <$fh> // '';
    chomp $comm;

    return $comm;
}


# Supervisor, holders and cores of this nginx, or those of one name.

sub processes {
    my ($self, $name) = @_;
    my @found;

    for my $pid (map { m{/(\d+)$} } glob '/proc/[0-9]*') {
        my $comm = comm($pid);

        next unless $comm =~ /^tailnet-/ && (!defined $name || $comm eq $name);
        push @found, $pid if alive($pid) && $self->mine($pid);
    }

    return @found;
}


# Whether a process is of this nginx: its command line names the directory or
# the node, or that of one it descends from does.

sub mine {
    my ($self, $pid) = @_;

    while ($pid > 1) {
        return 1 if cmdline($pid) =~ /\Q$self->{dir}\E|\b$self->{node}\b/;

        open my $fh, '<', "/proc/$pid/stat" or return 0;
        ($pid) = scalar(<$fh>) =~ /\) \S (\d+)/ or return 0;
    }

    return 0;
}


# Ended by a signal is an end, too.

$SIG{$_} //= sub { exit 1 } for qw(INT TERM HUP);


# Before File::Temp takes the directories away, and with them the pid files.

END {
    local $?;
    $_->cleanup for grep { defined } @all;
}


sub DESTROY {
    my ($self) = @_;
    $self->cleanup;
}


sub cleanup {
    my ($self) = @_;
    local ($?, $@, $!);

    return if $self->{owner} != $$ || $self->{clean}++;

    $self->load_stop if $self->{load} && @{$self->{load}};

    for my $name ('logs/nginx.pid', 'logs/nginx.pid.oldbin') {
        my $pid = $self->pid($name) // next;

        next unless cmdline($pid) =~ /^nginx: /;
        kill 'TERM', $pid;
        eval { $self->wait_for(5, 'end', sub { !alive($pid) }); 1 }
            or kill 'KILL', children($pid), $pid;
    }

    # The supervisor ends by itself then.

    eval { $self->wait_for(5, 'end', sub { !$self->processes }); 1 }
        or kill 'KILL', $self->processes;
}


1;
